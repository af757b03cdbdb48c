"""Whom a backend asks: the address, the model, the key, and who is named when it fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.keys import find_key
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.servers import find_title
from massgen_mcp.backends.urls import host_of, is_loopback

__all__ = ["Account", "find_account"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One model at one address, asked with one key."""

    base_url: str
    model: str
    key: str = field(repr=False)
    failures: Failures

    def asking(self, model: str) -> Account:
        """The same for another model."""
        return replace(self, model=model, failures=replace(self.failures, model=model))

    def check_address(self, pool: Pool) -> None:
        """See that the address may be talked to.

        Raises:
            BackendError: it may not.
        """
        if refused := pool.refuse_url(self.base_url):
            raise self.failures.make(
                "bad_request",
                "`base_url` can't be used",
                words=refused,
                remedy="Correct it.",
                connected=False,
            )


async def find_account(
    options: Options,
    context: BackendContext,
    base_url: str,
    *,
    model: str | None = None,
    title: str | None = None,
    by_host: bool = True,
) -> Account:
    """What a backend block means by its key and model, at an address.

    Args:
        options: the backend block.
        context: what the outside gives.
        base_url: who is asked.
        model: its exact name; absent: the block's, else the row's, by the row's aliases. May be empty.
        title: who fails, as a person knows it; absent: found by the host or the row.
        by_host: whether a file may name another server than the vendor's, so that the host says who it is.

    Raises:
        BackendError: a key is needed and there is none that may be sent there.
    """
    info = context.info
    key, source = find_key(options, context, base_url)
    if model is None:
        named = options.model or info.default_model or ""
        model = info.aliases.get(named, named)
    known = replace(context, info=replace(info, base_url=None)) if by_host else context
    failures = Failures(
        title=title or await find_title(known, base_url, key),
        model=model,
        key=source,
        secrets=context.secrets,
        clock=context.clock,
        local=info.local or is_loopback(host_of(base_url)),
    )
    return Account(base_url=base_url, model=model, key=key, failures=failures)
