"""Tests the front end: one contract suite for all databases, and each database's own ways."""
