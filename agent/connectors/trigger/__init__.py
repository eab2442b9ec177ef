"""Reads tables whose changes are noted by triggers in a table of the business database."""
