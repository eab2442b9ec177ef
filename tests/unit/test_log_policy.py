"""Tests when a slot is given up, and the note of it."""

from pathlib import Path

import pytest

from agent.connectors.postgres.kept_log import NOTHING
from agent.connectors.postgres.setup.server import check_given_up
from agent.connectors.postgres.slot_notes import SlotNote, SlotNotes
from agent.connectors.trigger.setup import given_up
from agent.errors import SlotGivenUp, SourceUnreachable

MB = 1 << 20
IDENTITY = {"system_id": "1", "timeline": 1, "slot": "s"}


@pytest.mark.parametrize(
    ("kept", "unread", "most", "too_large"),
    [
        (9, 9, None, False),
        (8, 8, 8, False),
        (9, 9, 8, True),
        (9, 5, 8, True),
        (9, 4, 8, False),  # a transaction of the application holds it back
    ],
)
def test_what_is_too_large(kept: int, unread: int, most: int | None, too_large: bool) -> None:
    log = NOTHING._replace(bytes=kept * MB, unread_bytes=unread * MB)
    assert log.too_large(None if most is None else most * MB) == too_large


class Server:
    """Is what `check` knows of the server."""

    def __init__(self, keep_mb: int) -> None:
        self.slot_keep_mb = keep_mb


@pytest.mark.parametrize(
    ("keep_mb", "warned", "most", "level", "text"),
    [
        (100, None, None, "ok", "never gives up"),
        (100, None, 80, "ok", "Above 80 MB"),
        (-1, None, 80, "ok", "Above 80 MB"),
        (-1, 40, 80, "ok", "Above 80 MB"),
        (80, None, 80, "warning", "the server gives up the slot first"),
        (100, None, 50, "warning", "warns only above 50 MB"),
        (-1, 90, 80, "warning", "warns only above 90 MB"),
    ],
)
def test_what_check_says_of_the_bounds(
    keep_mb: int, warned: int | None, most: int | None, level: str, text: str
) -> None:
    of_warning, of_giving_up = (None if size is None else size * MB for size in (warned, most))
    finding = check_given_up(Server(keep_mb), of_warning, of_giving_up)
    assert (finding.code, finding.level) == ("LOG_GIVEN_UP", level)
    assert text in finding.message


@pytest.mark.parametrize(
    ("warned", "most", "level", "text"),
    [
        (10, None, "ok", "never gives up"),
        (10, 20, "ok", "Above 20 notes"),
        (20, 20, "warning", "warns only above 20 notes"),
    ],
)
def test_what_check_says_of_a_trigger_log(
    warned: int, most: int | None, level: str, text: str
) -> None:
    finding = given_up(warned, most)
    assert (finding.code, finding.level) == ("LOG_GIVEN_UP", level)
    assert text in finding.message


def test_a_note_is_written_in_place(tmp_path: Path) -> None:
    """A disk that is full by then takes it still."""
    notes = SlotNotes(tmp_path / "agent")
    assert notes.read("s") is None
    note = SlotNote(IDENTITY, "0/1")
    notes.write(note)
    (file,) = (tmp_path / "agent").iterdir()
    before = file.stat()

    refused = SourceUnreachable(address="a", reason="r" * 300)
    kept = {"code": refused.code, "values": refused.plain_values()}
    values = {"slot": "s", "kept": 9, "bound": 8, "position": "0/2"}
    notes.write(note._replace(given_up=values, refused=kept))
    after = file.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    read = notes.read("s")
    assert read is not None
    assert isinstance(read.loss, SlotGivenUp)
    assert str(read.refusal) == str(refused)
    assert notes.read("another") is None

    notes.write(note)
    assert notes.read("s") == note
    notes.forget()
    assert notes.read("s") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"position": "0/1"}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    notes = SlotNotes(tmp_path)
    notes.write(SlotNote(IDENTITY, "0/1"))
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert notes.read("s") is None


def test_a_folder_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("a file")
    notes = SlotNotes(tmp_path / "agent")
    notes.write(SlotNote(IDENTITY, "0/1"))
    assert notes.read("s") is None
    notes.forget()
