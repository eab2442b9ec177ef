"""Fuzzing of all that reads bytes written by others; `python -m tests.fuzz` with atheris, tests/test_fuzz.py without."""
