"""Tests reconcile on real components: copy, verify, repair and the ways back.

They go through the commands and the running service.
"""
