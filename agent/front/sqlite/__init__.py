"""The front end in SQLite."""
