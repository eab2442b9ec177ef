"""Hypothesis for a machine that runs databases and brokers beside it: no deadline for one example."""

from hypothesis import settings

settings.register_profile("beside-services", deadline=None)
settings.load_profile("beside-services")
