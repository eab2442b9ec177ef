"""Fuzzes all that reads bytes written by others.

It is `python -m tests.fuzz` with atheris, and tests/test_fuzz.py without.
"""
