"""What came with a question, as each agent of a team is to have it."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from massgen_mcp.config.agent_tools import OWN_PREFIXES, SHELL_TOOL, AgentTools
from massgen_mcp.config.check_custom import media_functions
from massgen_mcp.engine import AgentId
from massgen_mcp.errors import RequestRefused
from massgen_mcp.messages import Image
from massgen_mcp.runs.made import GIVEN
from massgen_mcp.runs.material import Given, Material
from massgen_mcp.team.spec import AgentSpec, Attached, Equipment
from massgen_mcp.tools.filters import Candidate, NameLists, choose
from massgen_mcp.workspace.areas import context_name
from massgen_mcp.workspace.context import Context

__all__ = ["Seated", "attach", "digests_of", "named_images"]

_READ = "read_file"
_GROUPS = tuple(prefix.removeprefix("mcp__").removesuffix("__") for prefix in OWN_PREFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seated:
    """A team with what came for it."""

    agents: tuple[AgentSpec, ...]
    equipment: Equipment
    attached: Attached = field(default_factory=Attached)
    added: Mapping[AgentId, tuple[Context, ...]] = field(default_factory=dict[AgentId, "tuple[Context, ...]"])
    """What agents see of the project beside what the team file shows them; in `equipment`, too."""
    warnings: tuple[str, ...] = ()


def attach(
    agents: Sequence[AgentSpec],
    equipment: Equipment,
    material: Material,
    *,
    least: int = 1,
    project: Path | None = None,
) -> Seated:
    """Give files and images to those who can use them.

    Agents that read files by themselves are shown where they lie, all others their text. An agent whose model
    can't see sits out of a question with images, unless it has `understand_image`.

    Args:
        agents: who would take part.
        equipment: what they may use.
        material: what came.
        least: agents that are needed.
        project: the root that files are named from.

    Raises:
        RequestRefused: too few of the agents can see. Nothing was spent.
    """
    seeing = tuple(agent for agent in agents if not material.images or _sees(agent, equipment))
    blind = [agent.id for agent in agents if agent not in seeing]
    if len(seeing) < max(1, least):
        raise RequestRefused(
            f"`images`: {', '.join(blind)} can't see images, and {max(1, least)} of the team must. Ask a "
            "team whose models can (list_backends shows image: understand), or describe them in `context`. "
            "Nothing was spent."
        )
    contexts = dict(equipment.contexts)
    added: dict[AgentId, tuple[Context, ...]] = {}
    texts: dict[str, str] = {}
    for agent in seeing:
        reads = bool(material.contexts) and _reads(agent, equipment, material.contexts)
        texts[agent.id] = _text(material, reads=reads, blind=not agent.info.image_input)
        if reads and (new := _new(contexts.get(agent.id, ()), material.contexts, project)):
            added[agent.id] = new
            contexts[agent.id] = (*contexts.get(agent.id, ()), *new)
    warnings = [f"Sat out since their models can't see images: {', '.join(blind)}."] if blind else []
    return Seated(
        agents=seeing,
        equipment=replace(equipment, contexts=contexts),
        attached=Attached(
            texts={agent: text for agent, text in texts.items() if text},
            images=tuple(picture.image for picture in material.images),
            digests=digests_of(material),
        ),
        added=added,
        warnings=(*warnings, *material.notes),
    )


def _new(contexts: Sequence[Context], paths: Sequence[Path], project: Path | None) -> tuple[Context, ...]:
    """What an agent sees beside these contexts with those paths. What it sees already keeps its rights."""
    new = _unseen(contexts, paths)
    return tuple(Context(path=path, name=context_name(str(path), project)) for path in new)


def _unseen(contexts: Sequence[Context], paths: Sequence[Path]) -> tuple[Path, ...]:
    """Those of the paths that lie in none of the contexts."""
    held = [Path(os.path.realpath(context.path)) for context in contexts]
    real = {path: Path(os.path.realpath(path)) for path in paths}
    return tuple(path for path in paths if not any(real[path].is_relative_to(one) for one in held))


def _sees(agent: AgentSpec, equipment: Equipment) -> bool:
    tools = equipment.tools.get(agent.id, AgentTools())
    looks = tools.enable_multimodal_tools or "understand_image" in media_functions(tools)
    return agent.info.image_input or looks


def _reads(agent: AgentSpec, equipment: Equipment, paths: Sequence[Path]) -> bool:
    """Whether it has something that reads these files, after its filters."""
    tools = equipment.tools.get(agent.id, AgentTools())
    if agent.info.kind == "runtime":
        # Its own tools see folders of the project as a whole, and no single file of one.
        return not _unseen(equipment.contexts.get(agent.id, ()), paths)
    sees = bool(tools.cwd or tools.enable_mcp_command_line or agent.id in equipment.contexts)
    names = [_READ] * (sees and not tools.exclude_file_operation_mcps)
    names += [SHELL_TOOL] * tools.enable_mcp_command_line
    lists = NameLists(allowed=tools.allowed_tools, refused=tools.refused)
    own = [Candidate(name=name, groups=_GROUPS) for name in names]
    return bool(choose(own, lists, optional=True).names)


def named_images(images: Sequence[Image]) -> tuple[tuple[str, Image], ...]:
    """What came to be seen, under its path in the workspace of an agent whose model can't see."""
    return tuple(
        (f"{GIVEN}/{number}{mimetypes.guess_extension(image.mime) or ''}", image)
        for number, image in enumerate(images, 1)
    )


def _text(material: Material, *, reads: bool, blind: bool) -> str:
    """The files as an agent is shown them: what it can read by itself is only listed."""
    parts = [_whole(file) for file in material.files if not (reads and file.path is not None)]
    listing = material.listing()
    where = "They lie below project/." if reads else ""
    pictures = named_images([picture.image for picture in material.images]) if blind else ()
    names = zip((picture.name for picture in material.images), pictures, strict=False)
    shown = "\n".join(f"- {path} ({name}), in your workspace" for name, (path, _) in names)
    return "\n\n".join(part for part in (listing, where, *parts, shown) if part)


def _whole(file: Given) -> str:
    text = file.text
    if text is None:
        return ""
    lines = f", from line {file.first}" if file.first > 1 else ""
    return f"=== {file.name}{lines} ===\n{text}"


def digests_of(material: Material) -> dict[str, str]:
    """Name -> SHA-256 of everything that came with a question."""
    pairs = [(file.name, file.data) for file in material.files]
    pairs += [(picture.name, picture.image.data) for picture in material.images]
    return {name: hashlib.sha256(data).hexdigest() for name, data in pairs}
