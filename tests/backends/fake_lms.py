"""LM Studio's command line as a test plays it: `fake_lms.py FOLDER ARGUMENTS...`.

`FOLDER/state.json` says what is on disk, in memory, and which commands fail; `FOLDER/said.jsonl` keeps what
it was asked for and in which environment. `server start` leaves a server running, whose id is in
`FOLDER/server.pid`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "served",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def main(folder: Path, arguments: list[str]) -> int:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    with (folder / "said.jsonl").open("a") as file:
        file.write(json.dumps({"arguments": arguments, "environ": dict(os.environ)}) + "\n")
    command = arguments[0]
    if command in state.get("fails", {}):
        sys.stderr.write(f"\x1b[91mError: {state['fails'][command]}\x1b[39m\n")
        return 1
    match command:
        case "ls":
            sys.stdout.write(json.dumps(state["disk"]) + "\n")
        case "ps":
            sys.stdout.write(json.dumps(state["memory"]) + "\n")
        case "server":
            _serve(folder, arguments[arguments.index("--port") + 1])
        case "load":
            found = [model for model in state["disk"] if model["path"] == arguments[2]]
            state["memory"] += [{**found[0], "identifier": arguments[arguments.index("--identifier") + 1]}]
        case "get":
            _fetch(folder, state, arguments[1])
        case _:
            return 2
    (folder / "state.json").write_text(json.dumps(state))
    return 0


def _serve(folder: Path, port: str) -> None:
    server = subprocess.Popen(  # noqa: S603 - this Python, on the text above
        [sys.executable, "-S", "-c", SERVER, port, json.dumps(REPLY)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout is not None
    server.stdout.readline()
    (folder / "server.pid").write_text(str(server.pid))


def _fetch(folder: Path, state: dict[str, Any], name: str) -> None:
    sys.stdout.write("\x1b[?25l\x1b[s\r- [███ ] 41.50% | 2.0 GB / 4.9 GB | 9 MB/s | ETA 05:00   \x1b[u")
    sys.stdout.flush()
    while not (folder / "go-on").exists():
        time.sleep(0.02)
    if state.get("nowhere"):
        return
    state["disk"] += [{"type": "llm", "modelKey": name.lower(), "path": f"{name}/weights.gguf"}]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
