"""An MCP server that puts a hard question to a team of AI models and returns one coordinated answer."""

__all__ = ["__version__"]

__version__ = "0.1.0"
