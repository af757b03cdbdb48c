"""A program in the place of a vendor's command line: says what `script.json` beside it wants said.

The script is a list of turns, each a list of steps: an event to say; `call` and `arguments` for a tool of the
server it was set up with; `errors` for stderr; `file` and `text` for one below its home; `exit` with a code;
`wait` for ever. What it was given is written to `given.jsonl`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).resolve().parent


class Server:
    """The MCP server that the settings name, as its client."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - what the settings name
        self._number = 0
        client = {"name": "fake", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._say({"method": "notifications/initialized"})

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request."""
        self._number += 1
        self._say({"id": self._number, "method": method, "params": params})
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer.get("result", answer)

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()


def settings() -> dict[str, Any]:
    """The settings, as either program is given them."""
    home = os.environ.get("CODEX_HOME")
    if home is not None:
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
        else:
            say(step["raw"] if "raw" in step else json.dumps(step))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def note(what: dict[str, Any]) -> None:
    with (HERE / "given.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


def main() -> None:
    arguments = sys.argv[1:]
    script = json.loads((HERE / "script.json").read_text())
    if arguments[:1] == ["debug"]:
        say(json.dumps(script.get("models", {"models": [{"slug": "m", "tool_mode": "code"}]})))
    elif arguments[:1] == ["sandbox"]:
        sys.exit(script.get("sandbox", 0))
    else:
        turn = script["turns"].pop(0)
        (HERE / "script.json").write_text(json.dumps(script))
        set_up = settings()
        servers = set_up.get("mcp_servers") or set_up["mcpServers"]
        server = Server([servers["massgen"]["command"], *servers["massgen"]["args"]])
        tools = server.ask("tools/list")["tools"]
        said = {"arguments": arguments, "prompt": sys.stdin.read(), "settings": set_up, "tools": tools}
        note({**said, "environ": dict(os.environ), "cwd": str(Path.cwd())})
        play(turn, server)


if __name__ == "__main__":
    main()
