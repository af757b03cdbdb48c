"""Opens a Codex agent: finds the program, asks it for its models, tries its sandbox."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio

from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.bridge import open_bridge
from massgen_mcp.backends.cli_events import fields
from massgen_mcp.backends.cli_place import Place, Program, cli_account, find_program, open_place
from massgen_mcp.backends.cli_runtime import STARTS, CliRuntime
from massgen_mcp.backends.codex import Options
from massgen_mcp.backends.codex_dialect import CodexDialect
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.urls import host_of, owned_by
from massgen_mcp.errors import BackendError
from massgen_mcp.workspace.sandbox import find_sandbox

__all__ = ["open_codex"]

_API = "https://api.openai.com/v1"
_PROBE_SECONDS = 30.0


async def open_codex(
    options: Options, context: BackendContext, *, starts: float = STARTS, find: FindSandbox = find_sandbox
) -> CliRuntime:
    """An agent on Codex, ready for its turns. `starts`: seconds until its first word in each."""
    account = await cli_account(options, context, _API)
    place = await open_place(context, _program(options, context), find=find)
    async with place.opening():
        home = place.home / ".codex"
        home.mkdir(mode=0o700)
        probe = _Probe(place, {"CODEX_HOME": str(home)})
        ours = owned_by(host_of(account.base_url), context.info.hosts)
        catalog = _for_us(await probe.models(), at_home=ours)
        await place.write(place.fixed / "models.json", json.dumps({"models": catalog}))
        no_shell = await probe.lacks_shell()
        bridge = await open_bridge(place.line)
    dialect = CodexDialect(options, place, account, bridge=bridge.command, shell=not no_shell)
    warnings = [f"Codex runs no commands here: {no_shell}"] if no_shell else []
    return CliRuntime(
        context, account, place=place, bridge=bridge, dialect=dialect, starts=starts, warnings=warnings
    )


def _program(options: Options, context: BackendContext) -> Program:
    """The native program: the package of npm has a script in front of it, which would need node."""
    found = find_program("codex", options.cli_path, context, package="@openai/codex")
    if found.suffix == ".js":
        places = (found.parents[2], found.parents[1] / "node_modules" / "@openai")
        natives = [path for place in places for path in place.glob("codex-*/vendor/*/bin/codex")]
        if not natives:
            what = f"The package of {str(found)!r} has no native program beside it"
            remedy = "Install @openai/codex again, without --no-optional."
            raise BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)
        found = natives[0].resolve()
    bundled = found.parent.name == "bin" and (found.parents[1] / "codex-path").is_dir()
    return Program(argv=(str(found),), reads=(found.parents[1] if bundled else found,))


def _for_us(models: Sequence[Mapping[str, Any]], *, at_home: bool) -> list[Mapping[str, Any]]:
    """The catalogue with the team's tools in plain sight: not behind a search, nor behind a language.

    Elsewhere than at OpenAI nobody knows the short form of requests.
    """
    ours = {"supports_search_tool": False, "tool_mode": None}
    return [{**model, **ours, **({} if at_home else {"use_responses_lite": False})} for model in models]


class _Probe:
    """Tries of the program before the first turn."""

    def __init__(self, place: Place, environ: dict[str, str]) -> None:
        self._place = place
        self._environ = place.variables(environ)

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """What it knows of models.

        Raises:
            BackendError: it does not run here.
        """
        done = await self._run("debug", "models")
        try:
            models: object = fields(json.loads(done.stdout)).get("models")
        except ValueError:
            models = None
        if not isinstance(models, list):
            raise self._broken(done)
        return [fields(model) for model in cast("list[object]", models)]

    async def lacks_shell(self) -> str:
        """Why its own sandbox does not work within ours; empty where it does."""
        if self._place.sandbox is None:
            return self._place.why
        done = await self._run("sandbox", "--", "/bin/true")
        return "" if done.returncode == 0 else f"its sandbox does not work inside ours ({_last(done)})"

    async def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = self._place.command(arguments, prompt=None, cwd=self._place.workspace)
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                return await anyio.run_process(
                    command, stdin=subprocess.DEVNULL, env=self._environ, check=False, start_new_session=True
                )
        except (OSError, TimeoutError) as error:
            what = f"Codex does not run here: {error or f'no answer within {_PROBE_SECONDS:g} s'}"
            raise BackendError(what, kind="unavailable", connected=False) from error

    def _broken(self, done: subprocess.CompletedProcess[bytes]) -> BackendError:
        program = Path(self._place.program.argv[0]).name
        what = f"`{program} debug models` says nothing about models ({_last(done)})"
        remedy = "Install @openai/codex 0.169 or later."
        return BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return (lines[-1] if lines else f"exit code {done.returncode}")[-300:]
