"""Everything that writes the front-end database: tables, outbox, state."""
