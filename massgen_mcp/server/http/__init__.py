"""The same server over Streamable HTTP, for people who share one.

Imported by `massgen-mcp serve --http` and `massgen-mcp token` alone; the server that a host starts needs none
of it. The way of a request: `connection` (bytes, time limits) -> `gate` (who, from where, how much) -> the
SDK's session manager -> the tools.
"""

__all__: list[str] = []
