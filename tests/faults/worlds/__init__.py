"""Worlds: schemas, settings, names and roles that a seed draws, each run with the real product and judged."""
