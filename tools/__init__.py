"""Holds the tools of those who build the product.

They make the locked packages, the bill of materials, and the catalogue of messages.
"""
