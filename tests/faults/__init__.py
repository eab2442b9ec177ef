"""Schedules of faults against the real product, and planted bugs that prove the judge (docs/RELIABILITY.md)."""
