"""Writes the service's log on standard error: one event a line, as readable text or as JSON.

Every line is logged as `event key=%s key=%d`: the first word names the event, the rest are its
fields. Values are the agent's own names, numbers and error texts, never a row's value, a key or a
secret. An event that repeats too often is kept back.
"""

import json
import logging
import sys
import time
from collections import deque
from typing import Literal

_REPEATS = 10  # lines of one event in _PERIOD; the next one then says how many were kept back
_PERIOD = 60.0  # seconds


def log_to_stderr(level: str, form: Literal["text", "json"]) -> None:
    """Sets up this process's log; libraries' lines come from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("agent").setLevel(level.upper())


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Returns the event and its fields, in the order they are written.

    A library's line is an event of the library's name: its text is not ours, and could hold
    anything, so it stays out.
    """
    if not record.name.startswith("agent"):
        return {
            "event": "library",
            "logger": record.name,
            "place": f"{record.module}:{record.lineno}",
        }
    event, *parts = str(record.msg).split()
    args = record.args if isinstance(record.args, tuple) else ()
    found: dict[str, object] = {"event": event}
    for part, value in zip(parts, args, strict=True):
        name, _, _ = part.partition("=")
        found[name] = value

    kept_back = getattr(record, "kept_back", 0)
    if kept_back:
        found["kept_back"] = kept_back
    return found


def _time(record: logging.LogRecord) -> str:
    """In UTC, as the journal and Kafka have it."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


class TextLines(logging.Formatter):
    """`2026-11-25T02:15:04.863Z INFO streaming position=0/16B3748 epoch=3`.

    Values with spaces or quotes are quoted as JSON has them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of a record."""
        event, *named = fields(record).items()
        words = [_time(record), record.levelname, str(event[1])]
        words += [f"{name}={_text(value)}" for name, value in named]
        return " ".join(words)


class JsonLines(logging.Formatter):
    """`{"time":"...","level":"info","event":"streaming","position":"0/16B3748","epoch":3}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of a record."""
        line = {"time": _time(record), "level": record.levelname.lower()} | fields(record)
        return json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":"))


def _text(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not set(text) & set(' "='):
        return text
    return json.dumps(text, ensure_ascii=False)


class Repeats(logging.Filter):
    """Keeps lines back that repeat an event too often.

    The first line after them says in `kept_back` how many they were. The same event of another
    stage, table or peer is another one: its first value counts where it is a text.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[object, ...], deque[float]] = {}
        self._kept_back: dict[tuple[object, ...], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the line passes."""
        what: tuple[object, ...] = (record.name, record.msg)
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], str):
            what += (record.args[0],)

        passed = self._passed.setdefault(what, deque(maxlen=_REPEATS))
        if len(passed) == _REPEATS and record.created - passed[0] < _PERIOD:
            self._kept_back[what] = self._kept_back.get(what, 0) + 1
            return False
        passed.append(record.created)
        record.kept_back = self._kept_back.pop(what, 0)
        return True
