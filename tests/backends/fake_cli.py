"""A program in the place of a vendor's command line: says what `script.json` beside it wants said.

The script is a list of turns, each a list of steps: an event to say; `call` and `arguments` for a tool of the
server it was set up with; `together` for
calls of several at once; `errors` for stderr; `file` and `text` for one below its home; `exit` with a code;
`wait` for ever; `bytes` in hex; `escapes` for
a process that lives on in a session of its own. What it was given is written to `given.jsonl`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

HERE = Path(sys.argv[0]).resolve().parent


def joined(command: list[str]) -> tuple[IO[bytes], IO[bytes]]:
    """What to write to and to read from: a server that was started, as the real ones do."""
    import subprocess  # noqa: PLC0415 - what a test does not need costs it nothing

    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - what the settings name
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def connected(path: str) -> tuple[IO[bytes], IO[bytes]]:
    """The same without the process between, which is a pipe alone."""
    import socket  # noqa: PLC0415 - what a test does not need costs it nothing

    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.connect(path)
    return line.makefile("wb"), line.makefile("rb")


class Server:
    """The MCP server that the settings name, as its client."""

    def __init__(self, line: tuple[IO[bytes], IO[bytes]]) -> None:
        self._in, self._out = line
        self._number = 0
        client = {"name": "fake", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._say({"method": "notifications/initialized"})

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request."""
        self._number += 1
        self._say({"id": self._number, "method": method, "params": params})
        answer: dict[str, Any] = json.loads(self._out.readline())
        return answer.get("result", answer)

    def ask_together(self, names: list[str]) -> None:
        """Calls of these tools, all made before any result is read."""
        for number, name in enumerate(names, 1000):
            self._say({"id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}})
        for _ in names:
            self._out.readline()

    def _say(self, message: dict[str, Any]) -> None:
        self._in.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._in.flush()


def settings() -> dict[str, Any]:
    """The settings, as either program is given them."""
    home = os.environ.get("CODEX_HOME")
    if home is not None:
        import tomllib  # noqa: PLC0415 - what a test does not need costs it nothing

        return tomllib.loads((Path(home) / "config.toml").read_text())
    folder = Path(os.environ["GEMINI_CLI_HOME"], ".gemini")
    return {
        **json.loads((folder / "settings.json").read_text()),
        "memory": (folder / "GEMINI.md").read_text(),
    }


def play(steps: list[dict[str, Any]], server: Server) -> None:
    for step in steps:
        if "call" in step:
            result = server.ask("tools/call", name=step["call"], arguments=step.get("arguments", {}))
            note({"result": result})
        elif "together" in step:
            server.ask_together(step["together"])
        elif "errors" in step:
            sys.stderr.write(step["errors"] + "\n")
            sys.stderr.flush()
        elif "file" in step:
            path = Path(os.environ["HOME"], step["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step["text"])
        elif "exit" in step:
            sys.exit(step["exit"])
        elif "wait" in step:
            note({"pid": os.getpid()})
            time.sleep(600)
        elif "escapes" in step:
            note({"escaped": escape()})
        elif "bytes" in step:
            sys.stdout.buffer.write(bytes.fromhex(step["bytes"]) + b"\n")
            sys.stdout.flush()
        else:
            say(step["raw"] if "raw" in step else json.dumps(step))


def escape() -> int:
    """A process that nobody waits for, in a session of its own."""
    if pid := os.fork():
        return pid
    os.setsid()
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    time.sleep(600)
    os._exit(0)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note(what: dict[str, Any]) -> None:
    with (HERE / "given.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


def main() -> None:
    arguments = sys.argv[1:]
    script = json.loads((HERE / "script.json").read_text())
    turn = script["turns"].pop(0)
    (HERE / "script.json").write_text(json.dumps(script))
    set_up = settings()
    entry = (set_up.get("mcp_servers") or set_up["mcpServers"])["massgen"]
    command = [entry["command"], *entry["args"]]
    server = Server(joined(command) if script.get("starts_server") else connected(command[-1]))
    tools = server.ask("tools/list")["tools"]
    said = {"arguments": arguments, "prompt": sys.stdin.read(), "settings": set_up, "tools": tools}
    note({**said, "environ": dict(os.environ), "cwd": str(Path.cwd())})
    play(turn, server)


if __name__ == "__main__":
    main()
