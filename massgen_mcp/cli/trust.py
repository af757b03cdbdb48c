"""`massgen-mcp trust`: let a server use the teams of a project's `.massgen/`, as they are now."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.streams import say
from massgen_mcp.cli.world import MakeRuns
from massgen_mcp.config.trust import PROJECT_FOLDER, trust
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs.settings import read_settings

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Remember the folder with the hash of each of its files, and list them.

    Raises:
        ConfigError: there is nothing to trust in it.
        RequestRefused: there is no such folder.
    """
    del make_runs
    if not args.folder.is_dir():
        raise RequestRefused(f"There is no folder {args.folder.absolute()}.")
    project = args.folder.resolve()
    if project.name == PROJECT_FOLDER:
        project = project.parent
    for path in trust(project, state=read_settings(environ).state_dir):
        say(sys.stdout, str(path))
    say(sys.stderr, f"Servers started in {project} use these from now on, until one changes or is added.")
    return ExitCode.ANSWER
