"""Writes pieces of HTML. What is not a `Markup` is escaped."""

import html
import re
from collections.abc import Iterable
from datetime import datetime

from agent.messages import language, mark, translate
from agent.page.overview import iso

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_CODE = re.compile(r"`([^`]+)`")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Markup:
    """Returns an element. A trailing `_` of an attribute's name is left out, others become `-`."""
    written = []
    for attribute, value in attributes.items():
        shown = attribute.rstrip("_").replace("_", "-")
        written.append(f' {shown}="{html.escape(value)}"')
    return Markup(f"<{name}{''.join(written)}>{joined(content)}</{name}>")


def joined(content: Iterable[str]) -> Markup:
    """Returns pieces in a row."""
    parts = []
    for part in content:
        parts.append(part if isinstance(part, Markup) else html.escape(part))
    return Markup("".join(parts))


def sentence(message: str, piece: Markup, **values: object) -> Markup:
    """Translates a message and puts a piece of HTML where its `{time}` stands."""
    before, _, after = translate(message, None, time="\0", **values).partition("\0")
    return joined((before, piece, after))


def with_code(text: str) -> Markup:
    """Returns a text whose pieces between backticks are shown as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", html.escape(text)))


def moment(time: float | None, now: float) -> Markup:
    """Returns when something was, as the time of day of this host, with the date if not today's."""
    if time is None:
        return Markup("–")
    local = datetime.fromtimestamp(time).astimezone()
    today = datetime.fromtimestamp(now).astimezone().date()
    form = "%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M"
    return element("time", local.strftime(form), datetime=iso(time))


def duration(seconds: float | None) -> str:
    """Returns a time span in the unit that fits it."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return translate(mark("{seconds} s"), seconds=round(seconds))
    if seconds < 7200:
        return translate(mark("{minutes} min"), minutes=round(seconds / 60))
    if seconds < 172_800:
        return translate(mark("{hours} h"), hours=round(seconds / 3600))
    return translate(mark("{days} days"), days=round(seconds / 86_400))


def number(value: int) -> str:
    """Returns a number with its thousands set apart."""
    return f"{value:,}"


def amount(size: int) -> str:
    """Returns a number of bytes in the unit that fits it."""
    shown, unit = float(size), 0
    while shown >= 1024 and unit < len(_UNITS) - 1:
        shown, unit = shown / 1024, unit + 1
    return f"{shown:,.0f} {_UNITS[unit]}" if shown >= 10 else f"{shown:.3g} {_UNITS[unit]}"


def home() -> str:
    """Returns the path of the status page in the language that is spoken."""
    return "/zh" if language() == "zh_CN" else "/en"
