"""Runs a publisher in a process of its own, for tests that kill it.

Call `python -m tests.publish.child settings.json nonce`.
"""

import logging
import signal
import sys
from pathlib import Path

from agent.config import Settings
from agent.errors import AgentError
from agent.publish.relay import relay
from agent.service.control import Control, die_with_parent


def main() -> int:
    """Runs until SIGTERM or a halt; prints the halt's code."""
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    control = Control.alone("publish", sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: control.stop())
    try:
        relay(Settings.model_validate_json(Path(sys.argv[1]).read_text()), control, sys.argv[2])
    except AgentError as error:
        print(error.code)
        return error.exit_code
    finally:
        control.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
