"""From process start to `tools/list` answered, against a server of one tool on the bare SDK."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["figures"]

_ROUNDS = 7
_BARE = """
import anyio
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def echo(text: str) -> str:
    "Say it again."
    return text
server.run()
"""
_HELLO = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
]


def _measure(arguments: list[str]) -> tuple[float, float, list[dict[str, Any]]]:
    """CPU seconds and RSS in MiB once `tools/list` is answered, and the answer."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(json.dumps(line) + "\n" for line in _HELLO).encode())
    process.stdin.flush()
    while True:
        answer = json.loads(process.stdout.readline())
        if answer.get("id") == 2:
            break
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    rss = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
    process.kill()
    process.wait()
    return cpu, rss * resource.getpagesize() / 2**20, answer["result"]["tools"]


def figures() -> list[tuple[str, str, str, bool]]:
    """Start-up and the size of the definitions."""
    pairs = [(_measure(["-m", "massgen_mcp"]), _measure(["-c", _BARE])) for _ in range(_ROUNDS)]
    ours, bare = zip(*pairs, strict=True)
    cpu, cpu_bare = (statistics.median(run[0] for run in runs) for runs in (ours, bare))
    rss, rss_bare = (statistics.median(run[1] for run in runs) for runs in (ours, bare))
    tools = ours[0][2]
    keys = ("name", "title", "description", "inputSchema", "annotations", "_meta")
    slim = [{key: tool[key] for key in keys if key in tool} for tool in tools]
    small, whole = (len(json.dumps(value, separators=(",", ":"))) for value in (slim, tools))
    return [
        ("CPU to tools/list", f"<= {cpu_bare:.2f} + 0.20 s", f"{cpu:.2f} s", cpu <= cpu_bare + 0.2),
        ("RSS then", f"<= {rss_bare:.0f} + 15 MiB", f"{rss:.0f} MiB", rss <= rss_bare + 15),
        ("definitions without output schemas", "< 6000 bytes", f"{small}", small < 6_000),
        ("definitions whole", "< 8000 bytes", f"{whole}", whole < 8_000),
    ]
