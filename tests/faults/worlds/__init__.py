"""Draws worlds from seeds (schemas, settings, names and roles), and runs the product in each."""
