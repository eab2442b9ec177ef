"""Helps to write a first configuration: what a source has, what may be shared, what is asked."""
