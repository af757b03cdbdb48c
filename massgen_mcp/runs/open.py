"""The real world, put together for one process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.config.environment import Environment, default_environment
from massgen_mcp.config.readiness import address_of
from massgen_mcp.config.search import default_search
from massgen_mcp.config.variables import KNOWN_KEYS
from massgen_mcp.journal import open_journal
from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.git_diff import make_git
from massgen_mcp.runs.holding import Holding
from massgen_mcp.runs.manager import Runs
from massgen_mcp.runs.material import Material, gather
from massgen_mcp.runs.media import Studio
from massgen_mcp.runs.roots import find_roots
from massgen_mcp.runs.settings import read_settings
from massgen_mcp.runs.teams import OperatorTeams, Place
from massgen_mcp.runs.users import User
from massgen_mcp.runs.workshop import Machine, open_workshop
from massgen_mcp.runs.world import World
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import AgentSpec
from massgen_mcp.tools.downstream.entry import PackageCache
from massgen_mcp.tools.toolset import Toolset
from massgen_mcp.workspace.sandbox import find_sandbox

__all__ = ["open_runs"]


def _learn_keys(environment: Environment, secrets: Secrets) -> None:
    """Every key that is set here is a secret, whether a team uses it or not."""
    for name in KNOWN_KEYS:
        if value := environment.get(name):
            secrets.add(value, name)


@asynccontextmanager
async def open_runs(
    tasks: TaskGroup,
    *,
    place: Place,
    config_dirs: Sequence[Path] = (),
    roots: Sequence[Path] = (),
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    home: Path | None = None,
    here: Path | None = None,
    config_folder: Path | None = None,
    http: bool = False,
    users: Callable[[str], User | None] | None = None,
) -> AsyncGenerator[Runs]:
    """Runs over this machine's files, keys, models and journal, for the time of the block.

    Nothing is read from the network and no journal is opened until the first call that needs it.

    Args:
        tasks: owns the work of all runs.
        place: whether a person at a terminal or a host started this process.
        config_dirs: folders of team files given on the command line.
        roots: folders given on the command line that files and context paths may lie in.
        environ: the process's variables.
        clock: where time comes from.
        home: the user's home folder.
        here: the working folder.
        config_folder: the user's config folder of this program.
        http: served over HTTP: files may be named from the folders that the operator names, and no others.
        users: a user by name, as they are now; None where no users are served.
    """
    clock = clock or SystemClock()
    settings = read_settings(environ, config_dirs=tuple(config_dirs))
    home, here = home or Path.home(), here or Path.cwd()
    terminal = place == "terminal"
    open_roots = find_roots(given=roots, environ=environ, cwd=here, home=home, http=http)
    secrets, pool, prices = Secrets(), Pool(), Prices()
    environment = default_environment(
        environ, home=home, config_folder=config_folder, working_folder=here if terminal else None
    )
    holding = Holding(environ)
    teams = OperatorTeams(
        settings=settings,
        place=place,
        environment=environment,
        search=partial(
            default_search,
            operator=settings.config_dirs,
            home=home,
            config_folder=config_folder,
            working_folder=here,
            terminal=terminal,
            state=settings.state_dir,
        ),
        pool=pool,
        prices=prices,
        clock=clock,
        roots=open_roots,
        home=home,
        holding=holding,
    )
    if not terminal:
        tasks.start_soon(holding.find_out)

    _learn_keys(environment, secrets)

    async def open_one(spec: AgentSpec, tools: Toolset) -> Backend:
        context = BackendContext(
            info=spec.info,
            pool=pool,
            secrets=secrets,
            clock=clock,
            environ=spec.environ,
            api_key=spec.api_key.get_secret_value() if spec.api_key else None,
            key_name=spec.key_name,
            seed=spec.seed,
            workspace=tools.workspace,
            readable=tools.readable,
            hidden=tools.hidden,
            cache_dir=settings.cache_dir,
            sandbox=spec.sandbox,
        )
        return await open_backend(spec.options, context)

    async def gather_for(given: Ask) -> Material:
        if not given.files and not given.images:
            return Material()
        git = None
        if any(isinstance(item, str) and item.startswith("git:") for item in given.files):
            git = make_git(await find_sandbox(environ), environ=environ)
        return await gather(given.files, given.images, roots=open_roots, git=git, redact=secrets.redact)

    places: dict[str, anyio.CapacityLimiter] = {}

    def queue_for(spec: AgentSpec) -> AbstractAsyncContextManager[Any]:
        most = spec.options.max_concurrent or spec.info.max_concurrent
        if most is None:
            return nullcontext()
        address = address_of(spec.options, environment) or spec.info.type
        return places.setdefault(address, anyio.CapacityLimiter(most))

    machine = Machine(
        state_dir=settings.state_dir,
        environ=environ,
        secrets=secrets,
        clock=clock,
        packages=PackageCache(settings.cache_dir / "packages"),
        studio=Studio(pool=pool, prices=prices, secrets=secrets, clock=clock),
    )
    world = World(
        clock=clock,
        teams=teams,
        prices=prices,
        open_journal=partial(open_journal, settings.state_dir, clock=clock, redact=secrets.redact_value),
        open_backend=open_one,
        place=queue_for,
        open_workshop=partial(open_workshop, machine),
        state_dir=settings.state_dir,
        gather=gather_for,
        project=open_roots.first,
        max_runs=settings.max_runs,
        max_agents=settings.max_agents,
        max_memory=settings.max_memory,
        keep_days=settings.keep_days,
        usd_per_day=settings.usd_per_day,
        on_disconnect=settings.on_disconnect,
        secrets=secrets,
    )
    runs = Runs(world, tasks, users=users)
    if not terminal:
        tasks.start_soon(runs.tidy)
    if settings.resume and not terminal:
        tasks.start_soon(runs.resume_interrupted)
    try:
        yield runs
    finally:
        await runs.aclose()
        await pool.aclose()
