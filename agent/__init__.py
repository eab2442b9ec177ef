"""Keeps a unit's business database, its front-end tables and its Kafka topics equal, provably."""

__version__ = "0.1.0"
