"""Reads tables of any database through SQLAlchemy: catalogue, pages by key, rows by key."""
