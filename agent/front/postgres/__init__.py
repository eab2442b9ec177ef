"""The front end in PostgreSQL."""
