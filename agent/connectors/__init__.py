"""Everything that reads a source."""
