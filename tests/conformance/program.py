"""The server with the runner's fixtures as a process: `python -m tests.conformance.program`.

It serves as `serve --http` does, on a free port, with the token in MASSGEN_MCP_TOKEN, and says where.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import anyio

from massgen_mcp.server.http.place import Place
from massgen_mcp.server.http.serve import Doors, serving
from massgen_mcp.server.http.tokens import Tokens
from tests.conformance.server import build_fixture_server
from tests.teams import scripted_team


async def main() -> None:
    place = Place(port=0)
    opened = place.open()
    port: int = opened.getsockname()[1]
    doors = Doors(
        place=opened,
        tokens=Tokens(operator=os.environ["MASSGEN_MCP_TOKEN"], path=None),
        hosts=place.hosts(port),
        origins=place.origins(port),
    )
    async with anyio.create_task_group() as tasks:
        build = partial(build_fixture_server, tasks=tasks)
        async with serving(scripted_team(a=["answer: 4"]), doors, build=build):
            sys.stderr.write(f"massgen-mcp serves MCP at {place.url(port)}\n")
            sys.stderr.flush()
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
