"""What came with a run's question, kept so that another process can go on with the run.

The project's files may have changed since, or be gone. So what agents were shown is kept by its content, and
of what they read by themselves only where it lies.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from massgen_mcp.engine import AgentId
from massgen_mcp.errors import RequestRefused
from massgen_mcp.messages import Image
from massgen_mcp.runs.attach import Seated
from massgen_mcp.team.spec import AgentSpec, Attached, Equipment
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.context import Context
from massgen_mcp.workspace.kept_folder import KeptFolder

__all__ = ["KeptGiven", "KeptPlace", "keep_given", "load_given", "restore_seated"]

_LIST = "given.json"
_VERSION = 1
_NAMED = 5
"""Of what is missing, in a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlace:
    """A file or folder that an agent was shown since it came with the question."""

    context: Context
    real: Path
    """What its path led to then: a link that was put there since is not followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGiven:
    """All that was made of what came with a question."""

    agents: tuple[AgentId, ...]
    """Those who take part."""
    attached: Attached
    places: Mapping[AgentId, tuple[KeptPlace, ...]] = field(
        default_factory=dict[AgentId, "tuple[KeptPlace, ...]"]
    )
    warnings: tuple[str, ...] = ()


def keep_given(state: Path, run_id: str, seated: Seated) -> bool:
    """Keep what came with a question. Returns whether anything did.

    Call it before the run's first record is written: a run that is known can then go on.

    Raises:
        RequestRefused: it can't be kept. Nothing was spent.
    """
    attached = seated.attached
    if not (attached.texts or attached.images or attached.digests or seated.added or seated.warnings):
        return False
    try:
        _keep(KeptFolder(state, run_id), seated)
    except (PathRefused, OSError) as error:
        raise RequestRefused(
            f"What came with the question can't be kept in {state}: {error}. Make room there, or mend the "
            "folder's rights. Nothing was spent."
        ) from error
    return True


def _keep(folder: KeptFolder, seated: Seated) -> None:
    attached = seated.attached
    value = {
        "version": _VERSION,
        "agents": [agent.id for agent in seated.agents],
        "texts": {
            agent: _keep_content(folder, text.encode("utf-8", "surrogatepass"))
            for agent, text in attached.texts.items()
        },
        "images": [[image.mime, _keep_content(folder, image.data)] for image in attached.images],
        "digests": dict(attached.digests),
        "places": {agent: [_written(one) for one in contexts] for agent, contexts in seated.added.items()},
        "warnings": list(seated.warnings),
    }
    # The list last: where it is, all is.
    folder.write(_LIST, json.dumps(value).encode())


def _keep_content(folder: KeptFolder, data: bytes) -> str:
    """Agents are often shown the same: it is kept once."""
    name = f"given-{hashlib.sha256(data).hexdigest()[:40]}"
    if not folder.has(name):
        folder.write(name, data)
    return name


def _written(context: Context) -> dict[str, Any]:
    return {
        "path": os.fspath(context.path),
        "name": context.name,
        "write": context.write,
        "protected": list(context.protected),
        "real": os.path.realpath(context.path),
    }


def load_given(state: Path, run_id: str, *, digests: Mapping[str, str]) -> KeptGiven | None:
    """What came with the question of a run; None where nothing did.

    Args:
        state: the state folder.
        run_id: the run.
        digests: what came, as the run's first record says (`attached`); empty for nothing.

    Raises:
        RequestRefused: it is gone or damaged, so that the run can't go on.
    """
    try:
        folder = KeptFolder(state, run_id)
        data = folder.read(_LIST)
        given = None if data is None else _given(folder, json.loads(data))
    except PathRefused as error:
        _refuse(run_id, digests, str(error), error)
    # By value alone, since the journal may have written a name otherwise.
    if sorted(digests.values()) != sorted(given.attached.digests.values() if given else ()):
        _refuse(run_id, digests, "it is not there" if given is None else "it is not what the run began with")
    return given


def _refuse(run_id: str, digests: Mapping[str, str], why: str, cause: Exception | None = None) -> NoReturn:
    names = ", ".join(list(digests)[:_NAMED]) or "files or images"
    more = f" and {len(digests) - _NAMED} more" if len(digests) > _NAMED else ""
    raise RequestRefused(
        f"Run {run_id} can't go on: what came with its question ({names}{more}) can't be had any more: "
        f"{why.rstrip('.')}. Ask a follow-up with continue_run and a new `question`, and give the files "
        "again: it builds on the answers there are."
    ) from cause


def _given(folder: KeptFolder, value: dict[str, Any]) -> KeptGiven:
    if value["version"] != _VERSION:
        raise PathRefused("another version of this program kept it.", "text")
    texts = {agent: _content(folder, name) for agent, name in value["texts"].items()}
    return KeptGiven(
        agents=tuple(value["agents"]),
        attached=Attached(
            texts={agent: data.decode("utf-8", "surrogatepass") for agent, data in texts.items()},
            images=tuple(Image(mime=mime, data=_content(folder, name)) for mime, name in value["images"]),
            digests=value["digests"],
        ),
        places={agent: tuple(map(_read, places)) for agent, places in value["places"].items()},
        warnings=tuple(value["warnings"]),
    )


def _content(folder: KeptFolder, name: str) -> bytes:
    data = folder.read(name)
    if data is None:
        raise PathRefused(f"{name} is missing.", "missing")
    return data


def _read(place: dict[str, Any]) -> KeptPlace:
    context = Context(
        path=Path(place["path"]),
        name=place["name"],
        write=place["write"],
        protected=tuple(place["protected"]),
    )
    return KeptPlace(context=context, real=Path(place["real"]))


def restore_seated(given: KeptGiven | None, agents: Sequence[AgentSpec], equipment: Equipment) -> Seated:
    """The team with what came for it, as `attach` made it.

    A file that agents read by themselves, and that has gone or leads elsewhere since, is shown no more; the
    warnings name it.

    Args:
        given: what was kept; None for nothing.
        agents: of the team, as it is now.
        equipment: what they may use now.

    Raises:
        RequestRefused: an agent that took part is no longer in the team.
    """
    if given is None:
        return Seated(agents=tuple(agents), equipment=equipment)
    team = {agent.id: agent for agent in agents}
    if gone := [agent for agent in given.agents if agent not in team]:
        raise RequestRefused(
            f"The run can't go on: {', '.join(gone)} took part, and the team has them no longer. Put "
            "them back into the team file, or ask a follow-up with continue_run and a new `question`."
        )
    contexts = dict(equipment.contexts)
    added: dict[AgentId, tuple[Context, ...]] = {}
    lost: list[Path] = []
    for agent, places in given.places.items():
        added[agent] = tuple(place.context for place in places if _is_same(place))
        contexts[agent] = (*contexts.get(agent, ()), *added[agent])
        lost += [place.context.path for place in places if not _is_same(place)]
    warnings = [
        f"{path}, which came with the question, is gone or was replaced since: agents can't read it any more."
        for path in dict.fromkeys(lost)
    ]
    return Seated(
        agents=tuple(team[agent] for agent in given.agents),
        equipment=replace(equipment, contexts=contexts),
        attached=given.attached,
        added=added,
        warnings=(*given.warnings, *warnings),
    )


def _is_same(place: KeptPlace) -> bool:
    real = os.path.realpath(place.context.path)
    return real == str(place.real) and place.real.exists()
