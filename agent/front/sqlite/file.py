"""The files of a SQLite front end: is the log its own, are the pages sound, how did it end.

A -wal is joined with whatever file lies beside it: SQLite cannot tell that somebody has put an
older file back. So each of our commits raises a number in a small table. The file alone has it as
of the last checkpoint, the -wal begins with the next one.
"""

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from agent.errors import FrontDamaged
from agent.messages import mark, phrase

# Bytes; what is left of a longer -wal is cut as soon as no reader needs it
LOG_LIMIT = 8 << 20

# Bytes from which the size of the log is reported
LOG_LARGE = 16 << 20

MAKE_MARK = (
    "CREATE TABLE IF NOT EXISTS sync_agent_commits (mark TEXT NOT NULL)",
    """
    INSERT INTO sync_agent_commits SELECT 'sync-agent commit 0000000000000000'
    WHERE NOT EXISTS (SELECT 1 FROM sync_agent_commits)
    """,
)
RAISE_MARK = (
    "UPDATE sync_agent_commits SET mark = printf('sync-agent commit %016d', substr(mark, -16) + 1)"
)
READ_MARK = "SELECT CAST(substr(mark, -16) AS INTEGER) FROM sync_agent_commits"
_PLACE = "SELECT rootpage FROM sqlite_master WHERE name = 'sync_agent_commits'"
_MARK = re.compile(rb"sync-agent commit (\d{16})")

# Of a -wal, by https://www.sqlite.org/fileformat2.html#the_write_ahead_log; the sizes in bytes
_MAGIC = frozenset({b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"})
_HEADER, _FRAME = 32, 24

# No page has this number
_ANYWHERE = 0

# Looks at files that change meanwhile
_ATTEMPTS = 20

# Seconds between two signs of life while the pages are looked at
_LOOK = 0.25

# What integrity_check says of constraints: a matter of the table's owner, no damage
_CONSTRAINT = re.compile(r"(CHECK constraint failed|NULL value|\S+ value) in ")

# Characters of what SQLite says
_SHOWN = 200


class _Mark(NamedTuple):
    """The number of the last commit, and the page that has it."""

    page: int
    number: int


class Log(NamedTuple):
    """The numbers of the first and the last of our commits in a -wal."""

    first: int
    last: int


# ---- before the files are joined


def size(path: Path) -> int:
    """Returns the bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def beside(path: Path, suffix: str) -> Path:
    """Returns a file that SQLite keeps beside the database."""
    return path.with_name(path.name + suffix)


def look_at_files(path: Path) -> None:
    """Raises FrontDamaged where a log lies beside a file that it was not written for.

    Joins and changes nothing.
    """
    log, journal = beside(path, "-wal"), beside(path, "-journal")
    if not size(log) and not size(journal):
        return
    if not size(path):
        left = log if size(log) else journal
        text = mark("{path} is missing or empty, though {name} holds a part of it")
        raise FrontDamaged(reason=phrase(text, path=path, name=left.name))

    for _ in range(_ATTEMPTS):
        header = _header(log)
        found = _mark_in(path)
        if found is None:
            return
        if size(journal) and found.page != _ANYWHERE:
            raise _foreign(path, journal)
        marks = _marks_in(log, header, found.page)
        if _header(log) != header:
            continue  # a service at work has begun it again
        if marks is not None and not marks.first - 1 <= found.number <= marks.last:
            raise _foreign(path, log)
        return


def traits(path: Path) -> tuple[object, ...]:
    """Returns what stays the same while `look_at_files` would find the same.

    That is the file, to which only a checkpoint writes, and the beginning of its log, to which a
    writer only appends.
    """
    with suppress(OSError):
        status = path.stat()
        file = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return *file, size(beside(path, "-journal")), _header(beside(path, "-wal"))
    return ()


def _foreign(path: Path, other: Path) -> FrontDamaged:
    text = mark("{name} does not belong to {path}, which is older or another")
    return FrontDamaged(reason=phrase(text, name=other.name, path=path))


def _header(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(_HEADER)
    except OSError:
        return b""


def _mark_in(path: Path) -> _Mark | None:
    """Reads the mark in the file without its log.

    None where it cannot be read, in the middle of a checkpoint for one. The file is opened by
    SQLite alone: closing it in another way would take the locks of this process with it.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as file:
            place = file.execute(_PLACE).fetchone()
            if place is None:
                # The log, if it is this file's, makes the mark, with 0
                return _Mark(_ANYWHERE, -1)
            (number,) = file.execute(READ_MARK).fetchone()
            return _Mark(int(place[0]), int(number))
    except (sqlite3.Error, TypeError):
        return None


def _marks_in(log: Path, header: bytes, page: int) -> Log | None:
    """Returns the first and the last number that a log has of the page; None where it has none."""
    if len(header) < _HEADER or header[:4] not in _MAGIC:
        return None

    marks: list[int] = []
    try:
        with log.open("rb") as file:
            for image in _images(file.fileno(), header, page):
                found = _MARK.findall(image)
                if found:
                    highest = max(map(int, found))
                    marks.append(highest)
    except OSError:
        return None

    if not marks:
        return None
    return Log(first=marks[0], last=marks[-1])


def _images(log: int, header: bytes, page: int) -> Iterator[bytes]:
    """Yields each state of the page in the log, oldest first.

    What an earlier use of the log has left behind it does not count.
    """
    bytes_of_page = int.from_bytes(header[8:12], "big")
    place = _HEADER
    while True:
        frame = os.pread(log, _FRAME, place)
        if len(frame) < _FRAME or frame[8:16] != header[16:24]:
            return
        if page in (_ANYWHERE, int.from_bytes(frame[:4], "big")):
            yield os.pread(log, bytes_of_page, place + _FRAME)
        place += _FRAME + bytes_of_page


# ---- the pages


def look_at_pages(connection: sqlite3.Connection, alive: Callable[[], object]) -> None:
    """Raises FrontDamaged where a page is damaged, or an index disagrees with its table.

    `alive` is called meanwhile.
    """
    said: list[str] = []
    failed: list[sqlite3.Error] = []

    def look() -> None:
        try:
            said.extend(str(row[0]) for row in connection.execute("PRAGMA integrity_check"))
        except sqlite3.Error as error:
            failed.append(error)

    thread = threading.Thread(target=look, name="integrity", daemon=True)
    thread.start()
    alive()
    while thread.is_alive():
        thread.join(_LOOK)
        alive()
    if failed:
        raise failed[0]
    wrong = [line for line in said if line != "ok" and not _CONSTRAINT.search(line)]
    if wrong:
        raise FrontDamaged(reason=" ".join(wrong[0].split())[:_SHOWN])


# ---- what is kept beside the file


def note_damage(path: Path, reason: str) -> None:
    """Keeps in a file of its own that damage was met, for `status` and the next start.

    On a full disk the note is left out.
    """
    with suppress(OSError):
        beside(path, ".damaged").write_text(reason + "\n", encoding="utf-8")


def noted_damage(path: Path) -> str:
    """Returns what was noted; '' where nothing is."""
    try:
        return beside(path, ".damaged").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def forget_damage(path: Path) -> None:
    """Removes the note: the file was found to be sound."""
    with suppress(OSError):
        beside(path, ".damaged").unlink()


def clean_end(mark: int) -> bytes:
    """Returns what the lock file holds after a clean end at this number."""
    return f"clean {mark}\n".encode()


def ended_clean(held: bytes) -> int | None:
    """Returns the number at which the last writer has ended; None where it did not end clean."""
    word, _, number = held.decode(errors="replace").strip().partition(" ")
    return int(number) if word == "clean" and number.isdigit() else None
