"""Reconcile on real components: copy, verify, repair and the ways back, through the commands and the running service."""
