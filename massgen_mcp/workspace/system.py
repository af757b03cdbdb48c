"""What of the system every confined child sees, read-only: programs, libraries, what they look up to work."""

from __future__ import annotations

__all__ = ["ETC", "LINKED", "PACKAGES"]

PACKAGES = ("/usr", "/nix/store", "/gnu/store", "/run/current-system")
LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Links into /usr on most systems, folders on others."""
ETC = tuple(
    f"/etc/{name}"
    for name in """
    alternatives ca-certificates ca-certificates.conf crypto-policies debian_version fonts gai.conf host.conf
    hosts java ld-musl-aarch64.path ld-musl-x86_64.path ld.so.cache ld.so.conf ld.so.conf.d localtime magic
    mime.types nsswitch.conf os-release pki/ca-trust pki/tls/cert.pem pki/tls/certs pki/tls/openssl.cnf
    protocols resolv.conf services ssl/cert.pem ssl/certs ssl/openssl.cnf terminfo timezone
    """.split()  # noqa: SIM905 - a table of words
)
"""Nothing about the operator, and no private keys."""
