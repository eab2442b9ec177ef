"""Measurements anyone can repeat: ratios within one run, on real servers."""
