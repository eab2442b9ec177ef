"""Readers of a recorded binary log that know nothing of ours: they judge what ours reads.

The program is the server's own: `mariadb-binlog`, and `mysqlbinlog` of MySQL 9.7 for both versions
of MySQL. The library is mysql-replication.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from agent.connectors.mysql import columns, event_types, rows
from agent.connectors.mysql.charsets import NoText
from agent.connectors.mysql.columns import ColumnReader, Unsupported
from agent.connectors.mysql.events import Event
from agent.connectors.mysql.table_map import LoggedColumn, LoggedTable, table_map
from tests.services.mysql_files import mysql_program
from tests.source.logging_mysql import Logging

NO_TEXT = "(no text)"  # a value that ours refuses
Values = tuple[Any, ...]


class Judged(NamedTuple):
    """A row of the log, with its values as one reader gives them."""

    table: str
    op: str  # I, U or D
    before: Values | None
    after: Values | None


class Recorded(NamedTuple):
    """What a server has logged, as ours and both judges read it."""

    ours: Sequence[Judged]
    program: Sequence[Judged]
    library: Sequence[Judged]


def recorded(server: Logging, statements: Sequence[str], setup: Sequence[str]) -> Recorded:
    """Runs statements on a new file of the log, and returns how each reader reads it."""
    events = server.logged(statements, ["FLUSH BINARY LOGS", *setup])
    with server.session() as run:
        (*_, last) = run("SHOW BINARY LOGS")
    name = str(last[0])
    return Recorded(
        list(_ours(server, events)),
        list(_by_program(server, name)),
        list(_by_library(server, name)),
    )


# ---- ours


def _ours(server: Logging, events: Sequence[Event]) -> Iterator[Judged]:
    tables: dict[int, LoggedTable] = {}
    for event in events:
        if event.type == event_types.TABLE_MAP:
            table = table_map(event.body, with_years=server.has_signs_of_years)
            tables[table.id] = table
        if event.type not in event_types.ROWS:
            continue
        head = rows.head_of(event.type, event.body)
        table = tables[head.table_id]
        readers = [_reader(server, column) for column in table.columns]
        for before, after in rows.rows_of(head, event.body, readers):
            yield Judged(table.name, head.op, before, after)


def _reader(server: Logging, column: LoggedColumn) -> ColumnReader | int:
    """Returns a reader that goes on behind a value without text, or what passes the column over."""
    try:
        width, length_bytes, write = columns.column_reader(column, server.charsets)
    except Unsupported:
        return rows.skipping(*columns.extent(column))

    def write_all(raw: bytes) -> str | None:
        try:
            return write(raw)
        except NoText:
            return NO_TEXT

    return ColumnReader(width, length_bytes, write_all)


# ---- the server's own program

_OPERATIONS = {"INSERT INTO": "I", "UPDATE": "U", "DELETE FROM": "D"}
_HEAD = re.compile(rb"### (INSERT INTO|UPDATE|DELETE FROM) `unit`\.`(\w+)`")
_VALUE = re.compile(rb"###   @\d+=(.*)", re.DOTALL)


def _by_program(server: Logging, name: str) -> Iterator[Judged]:
    """Yields rows whose values are the bytes that the program prints; None is NULL."""
    options = ["--no-defaults", "--verbose", "--base64-output=DECODE-ROWS"]
    file = str(server.server.file(name))
    command = [*_program(server), *options, file]
    done = subprocess.run(command, check=True, capture_output=True)

    table = op = ""
    images: list[list[bytes | None]] = []
    for line in [*done.stdout.split(b"\n"), b"# end"]:
        head = _HEAD.fullmatch(line)
        if (head or not line.startswith(b"###")) and op:
            yield _judged(table, op, [tuple(image) for image in images])
            op = ""
        if head:
            op, table = _OPERATIONS[head[1].decode()], head[2].decode()
            images = []
        elif line in (b"### WHERE", b"### SET"):
            images.append([])
        elif found := _VALUE.fullmatch(line):
            images[-1].append(None if found[1] == b"NULL" else found[1])
        else:
            assert not line.startswith(b"###"), line


def _program(server: Logging) -> list[str]:
    if not server.is_mariadb:
        return mysql_program("mysqlbinlog")
    found = shutil.which("mariadb-binlog")
    if found is None:
        raise RuntimeError("mariadb-binlog is not installed: run tests/install.sh")
    return [found]


def _judged(table: str, op: str, images: Sequence[Values]) -> Judged:
    before = None if op == "I" else images[0]
    after = None if op == "D" else images[-1]
    return Judged(table, op, before, after)


# ---- the library

_EVENTS = {WriteRowsEvent: "I", UpdateRowsEvent: "U", DeleteRowsEvent: "D"}


def _by_library(server: Logging, name: str) -> Iterator[Judged]:
    """Yields rows whose values are Python's."""
    url = server.server.url
    account = {"host": url.host, "port": url.port, "user": url.username, "password": ""}
    reader = BinLogStreamReader(
        account,
        4712,
        log_file=name,
        log_pos=4,
        resume_stream=True,
        enable_logging=False,
        only_events=list(_EVENTS),
    )
    with closing(reader):
        for event in reader:
            op = _EVENTS[type(event)]
            for row in event.rows:
                names = ("values", "before_values", "after_values")
                images = [tuple(row[name].values()) for name in names if name in row]
                yield _judged(event.table, op, images)
