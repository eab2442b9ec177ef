"""Fills in for the servers of today what version 0.1.0 has left.

`make.py` says how it was made.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MADE = Path(__file__).parent / "made_by_0_1_0"


class Left:
    """What the agent of one kind of front end has left."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.agent = f"old{kind}"
        self._folder = MADE / kind

    def text(self, name: str, values: Mapping[str, object]) -> str:
        """A file with its places filled in."""
        text = (self._folder / name).read_text(encoding="utf-8")
        for place, value in values.items():
            text = text.replace("{" + place + "}", str(value))
        return text

    def statements(self, name: str, values: Mapping[str, object]) -> list[str]:
        """The statements of an SQL file."""
        text = self.text(name, values)
        return [part.strip() for part in text.split(";\n") if part.strip()]

    @property
    def record(self) -> dict[str, Any]:
        """The state record."""
        record: dict[str, Any] = json.loads(self.text("record.json", {}))
        return record

    @property
    def events(self) -> list[dict[str, Any]]:
        """What is in the topic: key, value and headers of each record."""
        return [json.loads(line) for line in self.text("events.jsonl", {}).splitlines()]
