"""Writes the statistics as a file for spreadsheets: CSV by RFC 4180, one line a day and table."""

import csv
import io

from agent.service.history import Exchange, Exchanges

HEADER = ("day", "table", *Exchange._fields)
# Spreadsheets take a cell that begins so for a formula; one more apostrophe keeps it a text. The
# apostrophe is among them, so that what was added can be told
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def write(exchanges: Exchanges) -> bytes:
    """Returns the file, by days and tables. It begins with a BOM, by which Excel knows UTF-8."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(HEADER)
    for (day, name), exchange in sorted(exchanges.items()):
        lines.writerow((day, guarded(name), *exchange))
    return text.getvalue().encode("utf-8-sig")


def guarded(name: str) -> str:
    """Returns a name as a cell that no spreadsheet takes for a formula."""
    if name.startswith(_GUARDED):
        return f"'{name}"
    return name
