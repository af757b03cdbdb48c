"""Figures that the project holds itself to, as ratios within one run. Run with `python -m benchmarks`."""
