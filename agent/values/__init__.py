"""Canonical values: their types, texts and lines, and the forms events have."""
