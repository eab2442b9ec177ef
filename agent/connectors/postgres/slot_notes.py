"""Keeps what the agent must know of its slot while the front end is away, in its own folder."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import AgentError, SlotGivenUp, stored

_NAME = "followed-slot.json"
# The file has this size from the beginning and is written in place: a disk that has run full, which
# is one of the reasons to give a slot up, takes it still
_BYTES = 4096


class SlotNote(NamedTuple):
    """What is known of the slot that the agent follows."""

    identity: Mapping[str, Any]  # Resume.identity, of the stream that was opened last
    position: str  # up to which it was acknowledged
    # Values of SlotGivenUp, once the agent is about to drop the slot
    given_up: Mapping[str, Any] | None = None
    # Code and values of the error that kept it from doing so
    refused: Mapping[str, Any] | None = None

    @property
    def slot(self) -> str:
        """The slot's name."""
        return str(self.identity.get("slot", ""))

    @property
    def loss(self) -> SlotGivenUp | None:
        """The error that tells why there is no slot, where the agent itself has dropped it."""
        return None if self.given_up is None else SlotGivenUp(**self.given_up)

    @property
    def refusal(self) -> AgentError | None:
        """The error that has kept the agent from dropping the slot, if there was one."""
        return None if self.refused is None else stored(**self.refused)


class SlotNotes:
    """A small file; one that cannot be read counts as not being there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def write(self, note: SlotNote) -> None:
        """Keeps a note. Where that is impossible, a process that follows this one knows less."""
        content = json.dumps(note._asdict()).encode().ljust(_BYTES)
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:
            return
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        except OSError:
            return
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Takes the file away."""
        with suppress(OSError):
            self._path.unlink()

    def read(self, slot: str) -> SlotNote | None:
        """Returns what was kept last of this slot."""
        try:
            note = SlotNote(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return note if note.slot == slot else None
