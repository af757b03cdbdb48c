"""Where the server listens, by which names it is called, and what has to be so beyond this machine."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from massgen_mcp.errors import ConfigError, Problem

__all__ = ["Place"]

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_HTTP, _HTTPS = 80, 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the operator says about where to listen."""

    host: str = "127.0.0.1"
    port: int = 8765
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    """A proxy in front speaks TLS with those who call."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, with their port where it is not the usual one, that requests may be addressed to."""

    def check(self) -> None:
        """Everything that must be so before a socket is opened.

        Raises:
            ConfigError: with every problem at once.
        """
        found = self._problems()
        problems = [Problem(path=path, message=message, hint=hint) for path, message, hint in found]
        if problems:
            raise ConfigError(problems, name="serve --http")

    def _problems(self) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        address = self._address()
        if address is None:
            found.append(("--host", f"{self.host!r} is not an address.", "Give an IP address or localhost."))
        if (self.tls_cert is None) != (self.tls_key is None):
            found.append(("--tls-cert, --tls-key", "one without the other.", "Give both files."))
        beyond = address is not None and not address.is_loopback
        if beyond and self.tls_cert is None and not self.behind_proxy:
            found.append(
                (
                    "--host",
                    f"other machines reach {self.host}, and tokens would cross the network in the open.",
                    "Give --tls-cert and --tls-key; or --behind-proxy, where a proxy speaks TLS in front.",
                )
            )
        if (self.behind_proxy or (address is not None and address.is_unspecified)) and not self.allowed_hosts:
            found.append(
                (
                    "--allowed-host",
                    "nobody has said by which name people call this server.",
                    "Name it, as --allowed-host massgen.example.com; requests for other names are refused.",
                )
            )
        found += [
            (
                "--allowed-host",
                f"{name!r} is not a host name with or without a port.",
                "Without http:// or a path.",
            )
            for name in self.allowed_hosts
            if not _HOST.fullmatch(name.lower())
        ]
        return found

    def _address(self):  # noqa: ANN202 - of two kinds without a common name
        try:
            return ip_address("127.0.0.1" if self.host == "localhost" else self.host)
        except ValueError:
            return None

    @property
    def scheme(self) -> str:
        """As those who call see it: `https` where we or a proxy in front speak TLS."""
        return "https" if self.tls_cert is not None or self.behind_proxy else "http"

    def hosts(self, port: int) -> frozenset[str]:
        """Values of `Host` that mean this server; `port` is the one it got."""
        address = self._address()
        literal = f"[{self.host}]" if address is not None and address.version == 6 else self.host  # noqa: PLR2004 - IPv6
        own = {*_LOOPBACK_NAMES, literal.lower()}
        usual = _HTTPS if self.tls_cert is not None else _HTTP
        named = {f"{name}:{port}" for name in own} | {name.lower() for name in self.allowed_hosts}
        return frozenset(named | own if port == usual else named)

    def origins(self, port: int) -> frozenset[str]:
        """Values of `Origin` of a page that came from this very server."""
        return frozenset(f"{self.scheme}://{host}" for host in self.hosts(port))

    def url(self, port: int) -> str:
        """How people call it."""
        address = self._address()
        host = f"[{self.host}]" if address is not None and address.version == 6 else self.host  # noqa: PLR2004 - IPv6
        return f"{self.scheme}://{self.allowed_hosts[0] if self.allowed_hosts else f'{host}:{port}'}/mcp"

    def open(self) -> socket.socket:
        """The socket, listening.

        Raises:
            ConfigError: the address or port can't be had; the text says why.
        """
        address = self._address()
        version = socket.AF_INET6 if address is not None and address.version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
        place = socket.socket(version, socket.SOCK_STREAM)
        try:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind((str(address), self.port))
            place.listen(128)
        except OSError as error:
            place.close()
            taken = error.errno == errno.EADDRINUSE
            words = "another program listens there" if taken else (error.strerror or str(error))
            hint = "Give another --port." if taken else ""
            problem = Problem(path="--port", message=f"{self.host}:{self.port}: {words}.", hint=hint)
            raise ConfigError([problem], name="serve --http") from error
        place.setblocking(False)
        return place

    def tls(self) -> ssl.SSLContext | None:
        """What speaks TLS with those who call.

        Raises:
            ConfigError: the files can't be used.
        """
        if self.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except OSError as error:  # an error of TLS is one, too
            problem = Problem(
                path="--tls-cert, --tls-key",
                message=f"can't be used: {error.strerror or error}.",
                hint="PEM files: the certificate with its chain, and its key without a passphrase.",
            )
            raise ConfigError([problem], name="serve --http") from error
        return context
