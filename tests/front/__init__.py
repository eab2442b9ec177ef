"""Tests of the front end: one contract suite for every implementation, and what each database does in its own way."""
