"""The compiled modules of the source as it is, built once for each state of it."""

import sysconfig
from pathlib import Path

from agent.compiled import digest
from tests.services.cache import cached
from tools import companion as built

AGENT = built.ROOT / "agent"


def companion() -> Path:
    """Returns the folder to be named in PYTHONPATH so that processes of the agent run compiled."""
    suffix = sysconfig.get_config_var("SOABI")
    name = f"compiled-{digest(AGENT)[:16]}-{suffix}"
    return cached(name, "compiled modules", built.build)


if __name__ == "__main__":
    print(companion())
