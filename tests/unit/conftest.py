"""Sets hypothesis up for a machine that runs servers beside it: an example has no deadline."""

from hypothesis import settings

settings.register_profile("beside-services", deadline=None)
settings.load_profile("beside-services")
