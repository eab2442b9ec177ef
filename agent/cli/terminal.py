"""Prepares standard output and error for every command.

They take any text, are there even when closed, and quiet when nobody reads.
"""

import codecs
import contextlib
import errno
import io
import json
import os
import sys

from agent.messages import mark, system_reason, translate

EX_IOERR = 74  # sysexits.h

_ERRORS = "sync-agent"
_LIKE = str.maketrans({"→": "->", "–": "-", "…": "...", "·": "-", "“": '"', "”": '"'})
_STANDARD = 2  # the last of the three file descriptors every process should have


def prepare() -> None:
    """Makes both streams take every text: what they cannot show is escaped as in TOML and JSON."""
    codecs.register_error(_ERRORS, _shown)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD:
        pass  # that one was closed: nothing of the agent's must come to stand there
    os.close(descriptor)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _nowhere() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")


def _shown(error: UnicodeError) -> tuple[str, int]:
    """The codec's fallback: something alike, else an escape."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_LIKE)
    return "".join(_escape(character) for character in text), error.end


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_json(value: object) -> str:
    """Plain data as JSON text that standard output can show."""
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    return json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=2)


def finish(code: int) -> int:
    """Writes out what waits in the buffers; returns the exit code.

    A reader that has gone, as in `sync-agent check | head -1`, is no error. A full disk is one.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _silence(stream.fileno())
        except OSError as error:
            _silence(stream.fileno())
            code = unwritten(error)
    return code


def _silence(descriptor: int) -> None:
    """Lets the interpreter's own last flush go nowhere, not into a traceback."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def is_of_output(error: BaseException) -> bool:
    """Whether an error that names no file can only be of standard output: its disk is full."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.filename is None and error.errno in full


def unwritten(error: OSError) -> int:
    """Tells that standard output could not be written; returns the exit code."""
    text = mark("Standard output cannot be written: {reason}")
    with contextlib.suppress(OSError):
        sys.stderr.write(translate(text, reason=system_reason(error)) + "\n")
    return EX_IOERR
