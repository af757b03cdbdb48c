"""A `claude` that says what a test wants: it speaks the Agent SDK's protocol on its pipes, by a script.

`script.json` beside it holds one list of steps per turn; how it was started and what it is told goes to
`log.jsonl`.
A file `stubborn` has it stay when its input ends, `forgetful` has it know no session.

- `{"say": {...}}`: one message, with what every message has filled in
- `{"call": [name, arguments]}`: call a tool of the in-process server, and remember what came back
- `{"together": [names]}`: call several before any result is read
- `{"escapes": true}`: start a process that lives on in a session of its own
- `{"stderr": text}`, `{"exit": code}`, `{"hang": true}`, `{"wait": true}` until it is stopped
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = {
    "type": "result",
    "subtype": "success",
    "duration_ms": 1,
    "duration_api_ms": 1,
    "is_error": False,
    "num_turns": 1,
    "session_id": "s",
}


def log(entry: dict[str, Any]) -> None:
    with (HERE / "log.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


def say(message: dict[str, Any]) -> None:
    filled = {**RESULT, **message} if message["type"] == "result" else {"session_id": "s", **message}
    sys.stdout.write(json.dumps({"uuid": "u", **filled}) + "\n")
    sys.stdout.flush()


def hear() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        if (HERE / "stubborn").exists():
            time.sleep(60)
        sys.exit(0)
    heard = json.loads(line)
    log({"heard": heard})
    return heard


def answered(heard: dict[str, Any]) -> bool:
    """Answer the SDK's requests; whether this one stopped the turn."""
    request = heard["request"]
    say_response: dict[str, Any] = {"subtype": "success", "request_id": heard["request_id"], "response": {}}
    sys.stdout.write(json.dumps({"type": "control_response", "response": say_response}) + "\n")
    sys.stdout.flush()
    if request["subtype"] != "interrupt":
        return False
    say({"type": "result", "subtype": "error_during_execution", "is_error": True})
    return True


def ask(message: dict[str, Any]) -> Any:
    """Send the in-process server one message; its answer, or None when the turn was stopped meanwhile."""
    request = {"subtype": "mcp_message", "server_name": "massgen", "message": message}
    sys.stdout.write(
        json.dumps({"type": "control_request", "request_id": str(time.time_ns()), "request": request}) + "\n"
    )
    sys.stdout.flush()
    while True:
        heard = hear()
        if heard["type"] == "control_request" and answered(heard):
            return None
        if heard["type"] == "control_response":
            return heard["response"]["response"]["mcp_response"]


def call(name: str, arguments: dict[str, Any], number: int) -> bool:
    meta = {"claudecode/toolUseId": f"toolu_{number}"}
    params = {"name": name, "arguments": arguments, "_meta": meta}
    back = ask({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
    log({"back": back})
    return back is not None


def call_together(names: list[str]) -> None:
    for number, name in enumerate(names, 500):
        params = {"name": name, "arguments": {}, "_meta": {"claudecode/toolUseId": f"toolu_{number}"}}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        request = {"subtype": "mcp_message", "server_name": "massgen", "message": message}
        control = {"type": "control_request", "request_id": f"together-{number}", "request": request}
        sys.stdout.write(json.dumps(control) + "\n")
    sys.stdout.flush()
    for _ in names:
        hear()


def escape() -> int:
    """A process that nobody waits for, in a session of its own."""
    if pid := os.fork():
        return pid
    os.setsid()
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(600)
    os._exit(0)


def greet() -> None:
    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    ask({"jsonrpc": "2.0", "id": 900, "method": "initialize", "params": info})
    ask({"jsonrpc": "2.0", "method": "notifications/initialized"})
    log({"tools": ask({"jsonrpc": "2.0", "id": 901, "method": "tools/list"})})


def play(steps: list[dict[str, Any]]) -> None:  # noqa: C901 - one case a step
    for number, step in enumerate(steps):
        match step:
            case {"say": message}:
                say(message)
            case {"call": [name, arguments]}:
                if not call(name, arguments, number):
                    return
            case {"together": names}:
                call_together(names)
            case {"escapes": _}:
                log({"escaped": escape()})
            case {"stderr": text}:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()
            case {"exit": code}:
                sys.exit(code)
            case {"hang": _}:
                time.sleep(60)
            case _:  # wait until the turn is stopped
                while not answered(hear()):
                    pass
                return


def main() -> None:
    log({"pid": os.getpid(), "argv": sys.argv[1:], "environ": dict(os.environ)})
    if (HERE / "forgetful").exists() and any(word.startswith("--resume") for word in sys.argv):
        play([{"stderr": "No conversation found"}, {"exit": 1}])
    turns: Any = json.loads((HERE / "script.json").read_text())
    if "start" in turns:  # it never starts
        play(turns["start"])
    done = HERE / "turns"
    while True:
        heard = hear()
        if heard["type"] == "control_request":
            answered(heard)
        elif heard["type"] == "user":
            played = int(done.read_text()) if done.exists() else 0
            done.write_text(str(played + 1))
            if played == 0:
                greet()
            play(turns[played])


main()
