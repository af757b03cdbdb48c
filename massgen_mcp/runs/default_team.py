"""The team that answers when nobody named one: up to three agents from what is configured on this machine.

One per vendor, each its row's mid-price model, in the rows' order of preference; no member above five times
the cheapest member's price. With one vendor only, three of its models, or three samples of one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import anyio
import httpx2
from pydantic import AliasChoices, BaseModel, Field

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import public_backends
from massgen_mcp.usage import Usage

__all__ = ["Candidate", "Choice", "candidates", "choose", "listed_models", "loaded_models"]

SIZE = 3
PRICE_SPREAD = 5.0
_TYPICAL = Usage(requests=1, input=2_000, output=1_000)
"""A request to compare prices by."""
_PROBE_SECONDS = 0.4


class _Listed(BaseModel):
    """A model as a local server lists it."""

    id: str = Field(validation_alias=AliasChoices("id", "name"))
    state: str = "loaded"
    type: str = "llm"


class _Listing(BaseModel):
    """What a local server answers when asked for its models: `data` of `id`s, or `models` of `name`s."""

    data: list[_Listed] = Field(default=[], validation_alias=AliasChoices("data", "models"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could answer now."""

    info: BackendInfo
    model: str
    price: float | None
    """US dollars for a typical request; None where no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The members of the default team, and why these."""

    members: tuple[Candidate, ...]
    why: str


async def candidates(
    is_set: Callable[[str], bool],
    *,
    pool: Pool,
    prices: Prices,
    rows: Sequence[BackendInfo] | None = None,
    loaded: Mapping[str, Sequence[str]] | None = None,
    logged_in: Collection[str] = (),
) -> list[Candidate]:
    """Everything on this machine that could answer now, by the rows' order of preference.

    Args:
        is_set: whether a variable of that name is set.
        pool: for asking local servers which models they have loaded.
        prices: the price table.
        rows: the registry's, unless given.
        loaded: what local servers have in memory, by type; absent: they are asked.
        logged_in: types of agent runtimes that a subscription pays for here.
    """
    listed = [
        row
        for row in rows or public_backends()
        if row.executes and (row.kind == "model" or row.type in logged_in)
    ]
    hosted = [
        row
        for row in listed
        if not row.local
        and row.default_model
        and (row.type in logged_in or (row.kind == "model" and any(map(is_set, row.env))))
    ]
    found: dict[str, list[str]] = {row.type: [row.default_model or ""] for row in hosted}
    if loaded is not None:
        found |= {kind: list(models[:SIZE]) for kind, models in loaded.items() if models}
    async with anyio.create_task_group() as tasks:
        for row in listed:
            if loaded is None and row.local and row.base_url is not None:
                tasks.start_soon(_probe, row, pool, found)
    return [
        Candidate(info=row, model=model, price=await price_of(row, model, prices))
        for row in listed
        for model in found.get(row.type, [])
    ]


async def price_of(info: BackendInfo, model: str, prices: Prices) -> float | None:
    """US dollars for a typical request."""
    cost, _ = await prices.cost(info, Options(type=info.type, model=model), _TYPICAL)
    return cost


async def _probe(row: BackendInfo, pool: Pool, found: dict[str, list[str]]) -> None:
    models = await loaded_models(row, pool)
    if models:
        found[row.type] = models[:SIZE]


async def loaded_models(row: BackendInfo, pool: Pool) -> list[str]:
    """Models that a local server has in memory now; none when it is not there. Never loads one."""
    listed = await _listed(row, row.loaded_path, pool)
    return [item.id for item in listed if item.state == "loaded" and item.type != "embeddings"]


async def listed_models(row: BackendInfo, pool: Pool) -> list[str]:
    """Models that a local server offers, in memory or not; none when it is not there."""
    # LM Studio's own list says what is no language model.
    path = row.loaded_path if row.type == "lmstudio" else "models"
    return [item.id for item in await _listed(row, path, pool) if item.type != "embeddings"]


async def _listed(row: BackendInfo, path: str, pool: Pool) -> list[_Listed]:
    client = await pool.client()
    base = (row.base_url or "").rstrip("/")
    url = httpx2.URL(f"{base}/").join(path)
    try:
        with anyio.fail_after(_PROBE_SECONDS):
            response = await client.get(url)
        if not response.is_success:
            return []
        return _Listing.model_validate_json(response.content).data
    except (httpx2.HTTPError, TimeoutError, ValueError, OSError):
        return []


async def choose(found: Sequence[Candidate], *, prices: Prices, today: date) -> Choice | None:
    """The default team from what could answer; None when nothing could.

    The rows' order of preference decides, within a window in which no member costs more than five times
    the cheapest: of all such windows the one that seats most vendors, then the preferred ones.
    """
    by_vendor: dict[str, Candidate] = {}
    for candidate in found:
        by_vendor.setdefault(candidate.info.vendor, candidate)
    listed = list(by_vendor.values())
    if not listed:
        return None
    seated = _best_window(listed)
    if len(seated) == 1:
        return await _one_vendor(seated[0], found, prices=prices, today=today, alone=len(listed) == 1)
    left_out = [item.info.title for item in listed if item not in seated]
    note = (
        f"; not asked: {', '.join(left_out)} (three are enough, of prices not far apart)" if left_out else ""
    )
    vendors = ", ".join(member.info.title for member in seated)
    return Choice(members=tuple(seated), why=f"one model each of what is configured here: {vendors}{note}")


def _best_window(listed: Sequence[Candidate]) -> list[Candidate]:
    """The most, and of equally many the preferred, candidates none of whom costs five times another."""
    floors = sorted({item.price for item in listed if item.price}) or [0.0]
    windows = [
        [item for item in listed if not item.price or floor <= item.price <= PRICE_SPREAD * floor][:SIZE]
        for floor in floors
    ]
    return min(windows, key=lambda window: (-len(window), [listed.index(item) for item in window]))


async def _one_vendor(
    only: Candidate, found: Sequence[Candidate], *, prices: Prices, today: date, alone: bool
) -> Choice:
    others = [item for item in found if item.info is only.info and item.model != only.model]
    if not only.info.local:
        others = [
            replace(only, model=known.name, price=await price_of(only.info, known.name, prices))
            for known in only.info.models
            if known.name != only.model and (known.retires is None or known.retires > today)
        ]
    priced = [only, *(item for item in others if item.price is not None)]
    limit = PRICE_SPREAD * min((item.price for item in priced if item.price), default=0.0)
    affordable = [item for item in priced if not item.price or item.price <= limit]
    title = only.info.title
    head = (
        f"only {title} is configured here" if alone else f"{title} is preferred, others cost far more or less"
    )
    if len(affordable) >= SIZE and only in affordable:
        return Choice(members=tuple(affordable[:SIZE]), why=f"{head}: three of its models")
    return Choice(members=(only,) * SIZE, why=f"{head}: three samples of {only.model}")
