"""FastMCP's client as a program of its own, so that what it needs stays out of the tests' environment.

    python fastmcp_client.py SERVER.json CALLS.json

SERVER.json holds `command`, `args`, `env` and `cwd`. CALLS.json a list of `tool`, `arguments`, `timeout`.
In an argument, `{run_id}` stands for the run of an earlier reply. Prints a line for each call: the structured
part of its reply, or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# By name: e2e/install puts it where type checkers don't look.
fastmcp: Any = import_module("fastmcp")
transports: Any = import_module("fastmcp.client.transports")


async def main(server: dict[str, Any], calls: list[dict[str, Any]]) -> None:
    """Make the calls, one after the other, over one connection."""
    run_id = ""
    async with fastmcp.Client(transports.StdioTransport(**server)) as client:
        for call in calls:
            arguments = json.loads(json.dumps(call["arguments"]).replace("{run_id}", run_id))
            try:
                reply = await client.call_tool(call["tool"], arguments, timeout=call["timeout"])
            except Exception as error:  # noqa: BLE001 - what it is, is what is asked
                found: dict[str, Any] = {"error": str(error)}
            else:
                found = reply.structured_content or {}
            for row in [found, *found.get("runs", [])[:1]]:
                run_id = row.get("run_id", run_id)
            print(json.dumps(found), flush=True)  # noqa: T201 - its output


if __name__ == "__main__":
    asyncio.run(main(*(json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:])))
