"""Takes up a changed configuration while the service runs."""

import logging
from pathlib import Path

from agent.config import Settings, load
from agent.errors import AgentError
from agent.service.logs import log_to_stderr
from agent.service.metrics import Metrics

_log = logging.getLogger(__name__)


def reload(running: Settings, config_path: Path, metrics: Metrics) -> bool:
    """Reads the configuration again for the running service; returns whether it can be used.

    The processes that are started from now on read it themselves. What the supervisor holds as
    long as it runs cannot change: who the agent is, where its files are, and its
    address with what protects it.
    """
    try:
        new = load(config_path)
    except AgentError as error:
        _log.error("reload_refused code=%s error=%s", error.code, error.text("en"))
        return False

    fixed = {
        "name": (running.agent, new.agent),
        "state_directory": (running.state_directory, new.state_directory),
        "service.listen": (running.service.listen, new.service.listen),
        "service.password": (running.service.password, new.service.password),
        "service.tls": (running.service.tls, new.service.tls),
    }
    changed = [name for name, (before, after) in fixed.items() if before != after]
    if changed:
        _log.error("reload_refused needs=%s settings=%s", "restart", ",".join(changed))
        return False

    metrics.set_tables(resource.name for resource in new.resource)
    log_to_stderr(new.service.log_level, new.service.log_format)
    _log.info("reload_begins tables=%d", len(new.resource))
    return True
