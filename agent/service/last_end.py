"""Keeps how the service ended, beside the agent's state, for `status`.

There it can be read also when the front end cannot.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agent.errors import AgentError, stored

_NAME = "last-end.json"


class End(NamedTuple):
    """What ended the service."""

    stage: str  # that met it; '' for the service itself
    error: AgentError
    time: float  # Unix time


class LastEnd:
    """A small file in the agent's folder.

    It is there from the end of a service that halted until it works again, or ends cleanly. That it
    cannot be written or taken away stops nobody: the log says the same.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def note(self, stage: str, error: AgentError) -> None:
        """Keeps what ends the service."""
        end = {
            "stage": stage,
            "code": error.code,
            "values": error.plain_values(),
            "time": time.time(),
        }
        written = self._path.with_suffix(".new")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            written.write_text(json.dumps(end, default=str, ensure_ascii=False), encoding="utf-8")
            written.replace(self._path)

    def read(self) -> End | None:
        """Returns what was kept; None where the service ended cleanly, or works."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return End(kept["stage"], stored(kept["code"], kept["values"]), float(kept["time"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """Forgets it: the service works again, or has ended cleanly."""
        with suppress(OSError):
            self._path.unlink()
