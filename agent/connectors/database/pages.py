"""Reads the page that was asked for, in the open snapshot."""

from sqlalchemy import Connection

from agent.connectors.base import Ask, Page
from agent.connectors.database.rows import RowReader
from agent.values.lines import line_of


def read_page(connection: Connection, reader: RowReader, ask: Ask) -> Page:
    """Reads or counts the rows of one page; `reader` reads the columns of the `Ask`.

    Raises what `RowReader` does.
    """
    if ask.counted is not None:
        total = reader.count(connection, ask.counted)
        return Page(ask.token, [], ask.limit, more=False, total=total)

    if ask.keys is not None:
        lines = [line_of(texts) for texts in reader.under(connection, ask.keys)]
        return Page(ask.token, lines, ask.limit, more=False)

    read = reader.page(connection, ask.after, ask.limit)
    limit = len(read.lines) if read.cut else ask.limit
    return Page(ask.token, read.lines, limit, more=len(read.lines) == limit)
