"""Tries the agent on a database: `sync-agent selftest`, with tables of its own that it removes."""
