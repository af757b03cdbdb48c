"""The children of this program, and what they may touch."""
