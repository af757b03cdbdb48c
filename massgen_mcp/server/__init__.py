"""The MCP server.

Nothing is imported here: the standard descriptors are moved out of reach first (`guard`), and what is loaded
before `tools/list` is answered is kept small.
"""

__all__: list[str] = []
