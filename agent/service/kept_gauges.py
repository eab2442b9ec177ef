"""Keeps gauges that have to outlive the service: when each table was last compared."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_NAME = "last-verify.json"


class KeptGauges:
    """A small file in the agent's folder, with values by the names of `agent.service.metrics`.

    That it cannot be written stops nobody: after the next start the tables count as never compared.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def write(self, gauges: Mapping[str, float]) -> None:
        """Keeps these values, and no others."""
        written = self._path.with_suffix(".new")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            written.write_text(json.dumps(gauges, ensure_ascii=False), encoding="utf-8")
            written.replace(self._path)

    def read(self) -> dict[str, float]:
        """Returns what was kept; nothing where there is no such file."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
