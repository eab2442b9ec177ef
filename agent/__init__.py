"""Keeps a unit's business database, its front-end tables and its Kafka topics equal, provably."""

from agent import compiled

__version__ = "0.1.0"

BUILD = compiled.install()
