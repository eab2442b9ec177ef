"""Runs schedules of faults on the real product, and plants bugs that prove the judge.

docs/RELIABILITY.md says what they are and what they have found.
"""
