"""Starts real servers for the tests and the demo, each on loopback.

A server is gone with the process that started it.
"""
