"""Videos by Google's Veo: ordered, waited for, fetched.

By hand over the shared pool: the vendor's package reads these responses only through a client of its own,
which would follow redirects with the key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, cast

import anyio
import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.gemini_failures import status_failure
from massgen_mcp.backends.gemini_wire import Item
from massgen_mcp.backends.urls import host_of
from massgen_mcp.clock import Clock
from massgen_mcp.messages import Image

__all__ = ["Veo"]

_POLL = 10.0
_SECONDS = 900.0
_SUCCESS, _PARTIAL = 200, 206
_PIECE = 7 * 1024 * 1024
"""Bytes fetched at once: a response may have 8 MiB."""
_MOST = 128 * 1024 * 1024
_REDIRECTS = 3
_OPERATION = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")
_GOOGLES = (".googleapis.com", ".googleusercontent.com")
_BROKEN = (httpx2.HTTPError, OSError, anyio.EndOfStream)


class Veo:
    """Makes one video at a time.

    Args:
        client: the shared one, borrowed.
        account: who is asked, with the model that makes it; its key is sent to that host alone.
        api_version: of the interface.
        clock: waits between two looks at whether it is done.
    """

    def __init__(
        self, client: httpx2.AsyncClient, account: Account, *, api_version: str, clock: Clock
    ) -> None:
        self._client = client
        self._base_url = f"{account.base_url.rstrip('/')}/{api_version}"
        self._headers = {"x-goog-api-key": account.key}
        self._model = account.model
        self._failures = account.failures
        self._clock = clock

    async def film(self, prompt: str, images: Sequence[Image]) -> Image:
        """A video.

        Raises:
            BackendError: there is none.
        """
        instance: Item = {"prompt": prompt}
        if images:
            data = base64.b64encode(images[0].data).decode()
            instance["image"] = {"bytesBase64Encoded": data, "mimeType": images[0].mime}
        url = f"{self._base_url}/models/{self._model}:predictLongRunning"
        operation = await self._json("POST", url, {"instances": [instance]})
        return await self._fetched(await self._done(operation))

    async def _done(self, operation: Item) -> Item:
        name = str(operation.get("name", ""))
        if ".." in name or not _OPERATION.fullmatch(name):
            raise self._failures.broken("it names no operation to wait for", retryable=False)
        deadline = self._clock.monotonic() + _SECONDS
        while not operation.get("done"):
            if self._clock.monotonic() >= deadline:
                raise self._failures.make(
                    "timeout",
                    f"The video was not made within {_SECONDS:g} s",
                    remedy="Ask for a simpler one, or later.",
                )
            await self._clock.sleep(_POLL)
            operation = await self._json("GET", f"{self._base_url}/{name}")
        if operation.get("error"):
            words = str(_mapping(operation.get("error")).get("message", "it does not say why"))
            raise self._failures.make("bad_request", "The video could not be made", words=words)
        return _mapping(operation.get("response"))

    async def _fetched(self, response: Item) -> Image:
        answer = _mapping(response.get("generateVideoResponse"))
        samples: Any = answer.get("generatedSamples")
        first = _mapping(cast("list[Any]", samples)[0]) if isinstance(samples, list) and samples else {}
        video = _mapping(first.get("video"))
        if not video:
            reasons: Any = answer.get("raiMediaFilteredReasons")
            words = " ".join(map(str, cast("list[Any]", reasons))) if isinstance(reasons, list) else ""
            raise self._failures.declined(words or "no video came of it")
        url = str(video.get("uri", ""))
        parts: list[bytes] = []
        size, whole = 0, 1
        while size < whole:
            part, whole = await self._piece(url, size)
            parts.append(part)
            size += len(part)
            if not part or size > _MOST:
                raise self._failures.broken("the video is empty or too large", retryable=False)
        return Image(mime="video/mp4", data=b"".join(parts))

    async def _piece(self, url: str, start: int) -> tuple[bytes, int]:
        """The bytes from there on, as many as fit, and how many there are in all."""
        own = host_of(self._base_url)
        for _ in range(_REDIRECTS + 1):
            host = host_of(url)
            if host != own and not (url.startswith("https://") and host.endswith(_GOOGLES)):
                raise self._failures.broken("the video lies at a host that is not Google's", retryable=False)
            headers = {"Range": f"bytes={start}-{start + _PIECE - 1}"}
            # The key goes to the host that was asked, not to wherever that one points.
            response = await self._send("GET", url, headers=headers | (self._headers if host == own else {}))
            if response.has_redirect_location:
                url = str(response.url.join(response.headers["location"]))
                continue
            if response.status_code not in {_SUCCESS, _PARTIAL}:
                raise self._refused(response)
            if start and response.status_code != _PARTIAL:
                raise self._failures.broken("it gave the video anew instead of its rest", retryable=False)
            total = _RANGE.fullmatch(response.headers.get("content-range", ""))
            data = response.content
            partial = response.status_code == _PARTIAL and total
            return data, int(total[1]) if partial and total else start + len(data)
        raise self._failures.broken("the video's address leads in circles", retryable=False)

    async def _json(self, method: str, url: str, body: Item | None = None) -> Item:
        response = await self._send(method, url, headers=self._headers, body=body)
        if response.status_code != _SUCCESS:
            raise self._refused(response)
        try:
            return _mapping(response.json())
        except (ValueError, RecursionError):
            raise self._failures.broken("a part of it is not JSON", retryable=False) from None

    async def _send(
        self, method: str, url: str, *, headers: dict[str, str], body: Item | None = None
    ) -> httpx2.Response:
        try:
            with anyio.fail_after(120):
                return await self._client.request(method, url, headers=headers, json=body)
        except TimeoutError:
            raise self._failures.make("timeout", f"{self._failures.title} did not answer in 120 s") from None
        except _BROKEN as error:
            failure = self._failures.network(error)
            failure.retryable = False
            raise failure from None

    def _refused(self, response: httpx2.Response) -> Exception:
        try:
            body: object = response.json()
        except (ValueError, RecursionError):
            body = response.text
        failure = status_failure(response.status_code, body, self._failures, headers=response.headers)
        failure.retryable = False
        return failure


def _mapping(value: object) -> Item:
    return cast("Item", value) if isinstance(value, dict) else {}
