"""The registry's rows, a module for each kind of place where models live. Data only."""

from massgen_mcp.backends.rows.compatible import COMPATIBLE
from massgen_mcp.backends.rows.hosted import HOSTED
from massgen_mcp.backends.rows.local import LOCAL
from massgen_mcp.backends.rows.runtimes import RUNTIMES

__all__ = ["COMPATIBLE", "HOSTED", "LOCAL", "RUNTIMES"]
