"""A window: what the stream did to a copying table since it was opened, merged per key. Pure.

It is put on top of a page that was read meanwhile. Rules: docs/decisions/visibility-hand-over.md. A
page was read in a snapshot that sees everything applied when the window opened, and may see some of
what came later: applied again, in order, the later changes end in the same rows.
"""

from typing import Final, NamedTuple

from agent.capture.shared_keys import KeyedRow, RowsAtKey, net, row_at
from agent.connectors.base import Visible
from agent.values.rows import UNCHANGED, Key, Row


class _After(NamedTuple):
    """What a key holds after the changes: `row` (None: nothing).

    `patch`: it goes over the page's row, whose values stand for the unchanged ones.
    """

    row: Row | None
    patch: bool


_NOTE_BYTES: Final = 100  # that a transaction's number of rows takes in memory, about
_GONE: Final = _After(None, patch=False)


class Window:
    """Remembers changes from one point between source transactions on.

    `overflown` or `broken` means that its page is of no use.
    """

    def __init__(self, resource: str, limit: int) -> None:
        self.resource = resource
        self.broken = False  # the table was emptied: the page may be older
        self._room = limit
        self._keys: dict[Key, _After] = {}
        # Of the transaction under way, where rows may share a key
        self._rows_at: dict[Key, RowsAtKey] = {}

    @property
    def overflown(self) -> bool:
        """More bytes of changes came than the window may hold."""
        return self._room < 0

    @property
    def useless(self) -> str:
        """Why its page is of no use; '' while it is of use."""
        if self.broken:
            return "the table was emptied, or a row lacks values"
        if self.overflown:
            return "too many changes came meanwhile"
        return ""

    def remember(
        self,
        old: Key | None,
        new: Key | None,
        row: Row | None,
        size: int,
    ) -> None:
        """Remembers one change of the stream, in its order.

        It turns the row at `old` (None: an insert) into `row` at `new` (None: a delete).
        """
        self._room -= size
        if self.overflown:
            self._keys.clear()
            return
        if old is not None and old != new:
            self._keys[old] = _GONE
        if new is None or row is None:
            return
        if old != new or UNCHANGED not in row:
            self._keys[new] = _After(row, patch=False)
            return
        before = self._keys.get(new, _After(None, patch=True))
        self._keys[new] = _After(
            row if before.row is None else filled(row, before.row),
            before.patch,
        )

    def remember_whole(
        self,
        old: KeyedRow | None,
        new: KeyedRow | None,
        size: int,
    ) -> None:
        """Remembers one change of whole rows.

        They may share a key until their transaction is complete (`settle`).
        """
        self._room -= size
        if self.overflown:
            self._keys.clear()
            self._rows_at.clear()
            return
        for key in {place[0] for place in (old, new) if place is not None}:
            here = self._rows_at.setdefault(key, RowsAtKey())
            here.change(row_at(key, old), row_at(key, new))

    def settle(self) -> None:
        """The transaction is complete."""
        for key, row in net(self._rows_at):
            self._keys[key] = _GONE if row is None else _After(row, patch=False)
        self._rows_at.clear()

    def after(self, key: Key, base: Row | None) -> Row | None:
        """Returns what the key holds once the changes are put on the page's row.

        A row with UNCHANGED in it is a hole.
        """
        after = self._keys.get(key)
        if after is None:
            return base
        if after.patch and base is not None and after.row is not None:
            return filled(after.row, base)
        return after.row


class Count(Window):
    """A window in which the rows of a table are counted.

    It notes by how many each source transaction changed the rows of the front end, which held
    `front` rows when it was opened, and stood at a commit. A snapshot of the source that sees some
    of the transactions since then must see as many rows as the front end held then, and as those
    transactions have added.
    """

    def __init__(self, resource: str, limit: int, front: int) -> None:
        super().__init__(resource, limit)
        self._front = front
        self._net: dict[int, int] = {}  # by transaction, where it is not zero

    def remember(
        self,
        old: Key | None,
        new: Key | None,
        row: Row | None,
        size: int,
    ) -> None:
        """See Window.remember: rows are no matter here."""

    def remember_whole(
        self,
        old: KeyedRow | None,
        new: KeyedRow | None,
        size: int,
    ) -> None:
        """See Window.remember_whole: rows are no matter here."""

    def changed(self, transaction: int, rows: int) -> None:
        """A source transaction gave the front end so many rows more, or fewer."""
        if transaction not in self._net:
            self._room -= _NOTE_BYTES
        net_rows = self._net.get(transaction, 0)
        self._net[transaction] = net_rows + rows

    def expected(self, snapshot: Visible | None) -> int:
        """Returns how many rows a snapshot of the source must see.

        None: it sees all that came until now.
        """
        rows = self._front
        for transaction, net_rows in self._net.items():
            if snapshot is None or snapshot.sees(transaction):
                rows += net_rows
        return rows


def filled(row: Row, base: Row) -> Row:
    """Returns a row with its unchanged values taken from the row before."""
    return tuple(
        [kept if value is UNCHANGED else value for value, kept in zip(row, base, strict=True)]
    )
