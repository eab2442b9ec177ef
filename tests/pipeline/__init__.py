"""Tests of the way from a source's messages to rows and events, on the in-memory twins."""
