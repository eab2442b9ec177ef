"""Finds the user's language and translates what users read; logs, code and docs stay English.

A message is marked once (`mark`, `translate`, `phrase`) and `python -m tools.messages` puts it into
the catalogue. What fills a message may be a message itself: give it as
`phrase("column {column} is missing", column=name)`. It is English where it is logged and in the
user's language where users read it, also after it was stored and read again (`plain`, `recalled`).
"""

import gettext
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Self

LOCALES = Path(__file__).parent / "locale"
DOMAIN = "sync_agent"


def mark(message: str) -> str:
    """Marks a literal for the translation catalogue and returns it unchanged.

    `translate` turns it into the user's language later.
    """
    return message


# The language of whoever is answered now; '' outside of `speaking`
_spoken: ContextVar[str] = ContextVar("spoken", default="")


@contextmanager
def speaking(lang: str) -> Iterator[None]:
    """Has this thread translate into a language, `zh_CN` or `en`, until the end of the block.

    So a service answers each user in the language that this user asks for.
    """
    before = _spoken.set(lang)
    try:
        yield
    finally:
        _spoken.reset(before)


def language() -> str:
    """Returns the user's language, `zh_CN` or `en`.

    What `speaking` says counts first, then SYNC_AGENT_LANG, then the locale variables in POSIX
    order. It is English, too, where the terminal cannot show Chinese.
    """
    spoken = _spoken.get()
    if spoken:
        return spoken
    for name in ("SYNC_AGENT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            chinese = value.lower().startswith("zh") and _shows_chinese()
            return "zh_CN" if chinese else "en"
    return "en"


def _shows_chinese() -> bool:
    """Whether both streams can show it: English is easier to read than escapes."""
    try:
        for stream in (sys.stdout, sys.stderr):
            "中".encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def teach_libraries() -> None:
    """Has libraries that ask gettext for their words speak the user's language, too.

    That is click above all.
    """
    gettext.bindtextdomain(DOMAIN, str(LOCALES))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = language()  # the first place gettext looks at


@cache
def _catalogue(lang: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALES, languages=[lang], fallback=True)


class Phrase(str):
    """A text within another message, such as the reason of an error.

    It is English as a str, and is translated when that message is.
    """

    __slots__ = ("message", "values")
    message: str
    values: dict[str, object]

    def __new__(cls, message: str, values: dict[str, object]) -> Self:
        """See phrase."""
        text = super().__new__(cls, translate(message, "en", **values))
        text.message, text.values = message, values
        return text


def phrase(message: str, **values: object) -> Phrase:
    """Returns a catalogue message that is to fill another one, such as an error's `reason=`."""
    return Phrase(message, values)


# What the operating system mostly says, in its own words, so that they are translated
_SYSTEM = (
    mark("Permission denied"),
    mark("Operation not permitted"),
    mark("No such file or directory"),
    mark("Is a directory"),
    mark("Not a directory"),
    mark("No space left on device"),
    mark("Disk quota exceeded"),
    mark("Read-only file system"),
    mark("Address already in use"),
    mark("Cannot assign requested address"),
    mark("Connection refused"),
)


def system_reason(error: OSError) -> str:
    """Returns what the operating system says of a failure."""
    said = error.strerror or type(error).__name__
    return phrase(said) if said in _SYSTEM else said


def plain(value: object) -> object:
    """Returns the value as JSON can hold it; `recalled` makes it what it was."""
    if isinstance(value, Phrase):
        inner = {name: plain(part) for name, part in value.values.items()}
        return {"phrase": value.message, "values": inner}
    return value


def recalled(value: object) -> object:
    """Returns what `plain` was given."""
    match value:
        case {"phrase": str(message), "values": Mapping() as values}:
            return Phrase(message, {str(name): recalled(part) for name, part in values.items()})
    return value


def translate(message: str, lang: str | None = None, **values: object) -> str:
    """Returns the message in the user's language, with its `{names}` filled in.

    A message without a translation stays English.
    """
    lang = lang or language()
    text = _catalogue(lang).gettext(message)
    if not values:
        return text
    return text.format(**{name: _translated(value, lang) for name, value in values.items()})


def _translated(value: object, lang: str) -> object:
    return translate(value.message, lang, **value.values) if isinstance(value, Phrase) else value
