"""One provider's dialect each, the registry of what they can do, and the one retry layer."""
