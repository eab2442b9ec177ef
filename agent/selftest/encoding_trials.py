"""The trials of texts whose bytes are in another encoding than the database says."""

from collections.abc import Callable, Iterator

from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.dialects.base import Recoded
from agent.connectors.polling.source import PollingSource
from agent.messages import mark, translate
from agent.selftest.report import Failed, expect
from agent.selftest.scratch import Scratch
from agent.selftest.sources import await_state, opened, polled

_TEXT = "中文"


class EncodingTrials:
    """Writes bytes as an old application does, and reads them as texts."""

    def __init__(self, url: str, scratch: Scratch, encoded: Database) -> None:
        """`encoded` reads the same database with an encoding."""
        self._url = url
        self._scratch = scratch
        self._encoded = encoded
        self._encoding = encoded.dialect.encoding

    def __iter__(self) -> Iterator[tuple[str, Callable[[], int]]]:
        """Yields title and trial."""
        told = {"encoding": self._encoding}
        for number, column in enumerate(self._encoded.dialect.recoded):
            text = mark("type {type}, texts in {encoding}")
            title = translate(text, None, **told, type=column.declared)
            yield title, self._type(number, column)
        yield translate(mark("rows by key, texts in {encoding}"), None, **told), self._keys
        yield translate(mark("polling, texts in {encoding}"), None, **told), self._polling

    def _written(self, column: Recoded) -> str:
        """Writes the test's text in the encoding, in the database's own SQL."""
        try:
            octets = _TEXT.encode(self._encoding)
        except UnicodeEncodeError:
            text = mark("the text of the test, {text}, has no bytes in this encoding")
            raise Failed(translate(text, text=_TEXT)) from None
        return column.literal.format(hex=octets.hex().upper())

    def _type(self, number: int, column: Recoded) -> Callable[[], int]:
        """Returns the trial that writes bytes and reads a text."""

        def run() -> int:
            table = self._scratch.table(
                f"e{number}", f"id INTEGER NOT NULL PRIMARY KEY, v {column.declared}"
            )
            self._scratch.run(f"INSERT INTO {table} (id, v) VALUES (1, {self._written(column)})")
            expect(self._scratch.rows(table, ["v"], self._encoded), [(_TEXT,)])
            return 1

        return run

    def _keys(self) -> int:
        """Finds a row by a key whose bytes are in the encoding."""
        column = self._encoded.dialect.recoded[0]
        table = self._scratch.table("ek", f"id {column.declared} NOT NULL PRIMARY KEY, n INTEGER")
        self._scratch.run(f"INSERT INTO {table} (id, n) VALUES ({self._written(column)}, 7)")
        read = self._scratch.described(table, self._encoded)
        dialect = self._encoded.dialect
        reader = RowReader(dialect, table.table, read, ["id", "n"])
        connection = self._encoded.connect()
        try:
            with self._encoded.guarded(table.table, table.table), dialect.snapshot(connection):
                found = list(reader.under(connection, [(_TEXT,), ("no",)]))
        finally:
            connection.close()
        expect(found, [(_TEXT, "7")])
        return 1

    def _polling(self) -> int:
        """Has the looks find a text in the encoding."""
        column = self._encoded.dialect.recoded[0]
        table = self._scratch.table(
            "ep", f"id INTEGER NOT NULL PRIMARY KEY, note {column.declared}, n INTEGER"
        )
        poll = {"mode": "sequence", "column": "n", "overlap": 0.0}
        source = PollingSource(polled(self._url, table, poll, self._encoding))
        try:
            opened(source)
            self._scratch.run(
                f"INSERT INTO {table} (id, note, n) VALUES (1, {self._written(column)}, 1)"
            )
            return 1 + await_state(source, "1", _TEXT)
        finally:
            source.close()
