"""The contract of Source (agent/connectors/base.py) that every kind of source keeps: pages.

What a source with a log keeps besides stands in tests/source/test_log_contract.py.
"""

from contextlib import suppress

import orjson
import pytest

from agent.connectors.changes import Begin, Commit, HighPosition
from agent.errors import SourceUnreachable
from agent.values.canonical import canonical
from tests.source.reading import PagedBusiness, asking, page_of, rows_of, silent_never, table_of

TWELVE = range(1, 13)


def test_a_read_with_nothing_to_deliver_ends(paged: PagedBusiness) -> None:
    """An idle source gives the loop its time for housekeeping, and to stop."""
    source = paged.source()
    source.open(paged.initial(), silent_never)
    for _ in range(3):
        assert list(source.read(0.01)) == []


def test_close_may_be_called_at_any_time(paged: PagedBusiness) -> None:
    """Before open, twice, and between reads; nothing is read then, and a new open begins again."""
    paged.hold(1)
    source = paged.source()
    source.close()
    with pytest.raises(SourceUnreachable):
        list(source.read(0.01))

    source.open(paged.initial(), silent_never)
    source.close()
    source.close()
    with pytest.raises(SourceUnreachable):
        list(source.read(0.01))

    source.open(paged.initial(), silent_never)
    page, _ = page_of(source, asking(source, limit=10))
    assert rows_of(page) == [("1", "order 1")]


@pytest.mark.parametrize("limit", [1, 3, 12, 100])
def test_pages_hold_every_row_once(paged: PagedBusiness, limit: int) -> None:
    """Each goes on after the last key of the one before, which is handed back as it came.

    `more` is false in the last one only.
    """
    paged.hold(*TWELVE)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    found: list[tuple[str | None, ...]] = []
    after, more = None, True
    while more:
        page, _ = page_of(source, asking(source, limit=limit, after=after))
        assert len(page.lines) <= page.limit <= limit
        found += rows_of(page)
        more = page.more
        after = (str(found[-1][0]),)
    assert sorted(found) == sorted((str(n), f"order {n}") for n in TWELVE)


def test_every_text_is_canonical(paged: PagedBusiness) -> None:
    """A text that is written in another way than the front end's would be another value."""
    paged.hold(*TWELVE)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    page, _ = page_of(source, asking(source, limit=100))
    for row in rows_of(page):
        for text, column in zip(row, table_of(source).columns, strict=True):
            assert text is None or canonical(text, column.type)


def test_a_page_has_a_high_position_of_its_own(paged: PagedBusiness) -> None:
    """It is the only content of a transaction, and comes once."""
    paged.hold(1)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    page, messages = page_of(source, asking(source, limit=10))
    place = messages.index(HighPosition(page.token))
    assert isinstance(messages[place - 1], Begin)
    assert isinstance(messages[place + 1], Commit)
    assert messages.count(HighPosition(page.token)) == 1


def test_rows_can_be_looked_up_by_key(paged: PagedBusiness) -> None:
    """Those that exist, in the columns asked for.

    A page of no keys brings its high position, too.
    """
    paged.hold(1, 2, 3)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    key, note = table_of(source).columns
    page, _ = page_of(source, asking(source, keys=[("1",), ("7",), ("3",)], columns=(note, key)))
    assert sorted(rows_of(page)) == [("order 1", "1"), ("order 3", "3")]
    assert not page.more

    page, _ = page_of(source, asking(source, keys=[]))
    assert (page.lines, page.more) == ([], False)


def test_rows_can_be_counted(paged: PagedBusiness) -> None:
    """No row is read then."""
    paged.hold(*TWELVE)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    page, _ = page_of(source, asking(source, counted=()))
    assert (page.total, page.lines, page.more) == (12, [], False)


def test_further_pages_are_the_first_of_those_asked_for(paged: PagedBusiness) -> None:
    """A source may leave them out; none follows a page that has no end. One high position ends all.

    It may be the same table, with other columns, keys, or a count.
    """
    paged.hold(1, 2, 3)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    key, note = table_of(source).columns
    further = [
        asking(source, keys=[("2",)], columns=(note, key)),
        asking(source, counted=()),
        asking(source, limit=2),
        asking(source, limit=10),
    ]
    first = asking(source, limit=10)
    page, messages = page_of(source, first._replace(further=further))
    found = list(page.further)
    assert sorted(rows_of(page)) == [("1", "order 1"), ("2", "order 2"), ("3", "order 3")]
    assert sum(isinstance(message, HighPosition) for message in messages) == 1

    assert len(found) < len(further), "the third one has no end"
    assert [rows_of(one) for one in found[:1]] == [[("order 2", "2")]][: len(found)]
    assert [one.total for one in found[1:2]] == [3][: len(found[1:])]
    assert [len(one.lines) for one in found[2:]] == [2][: len(found[2:])]
    assert [one.more for one in found] == [False, False, True][: len(found)]

    cut = asking(source, limit=2, further=[asking(source, limit=10)])
    page, _ = page_of(source, cut)
    assert (page.more, list(page.further)) == (True, [])


def test_a_page_that_is_withdrawn_never_comes(paged: PagedBusiness) -> None:
    """Nor one that was replaced; a high position of theirs may still come, and says nothing."""
    paged.hold(1)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    source.withdraw()
    assert source.page() is None

    source.ask(asking(source, limit=10))
    source.withdraw()
    assert source.page() is None

    source.ask(asking(source, limit=10, keys=[("7",)]))
    page, _ = page_of(source, asking(source, limit=10))
    assert rows_of(page) == [("1", "order 1")]

    source.close()
    with suppress(SourceUnreachable):
        assert source.page() is None


def test_a_new_opening_forgets_what_was_asked(paged: PagedBusiness) -> None:
    """Until it is asked again."""
    paged.hold(1)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    source.ask(asking(source, limit=10))
    source.close()
    source.open(paged.initial(), silent_never)
    assert source.page() is None
    page, _ = page_of(source, asking(source, limit=10))
    assert rows_of(page) == [("1", "order 1")]


def test_statistics_and_catalogue_are_told(paged: PagedBusiness) -> None:
    """As many rows as the statistics say; the same fingerprint while nothing changes."""
    paged.hold(*TWELVE)
    source = paged.source()
    source.open(paged.initial(), silent_never)
    paged.analyse()
    table = table_of(source)
    assert source.estimate(table) == 12
    before = source.fingerprints()
    assert list(before) == [(table.schema, table.table)]
    assert source.fingerprints() == before


def test_the_source_block_is_as_its_schema_says(paged: PagedBusiness) -> None:
    """The same fields in the same order, of a row that was streamed and of one that was read."""
    source = paged.source()
    source.open(paged.initial(), silent_never)
    table = table_of(source)
    origin = source.origin(table)
    names = [field["field"] for field in origin.schema["fields"]]
    begin = Begin(7, 1000, 5_000_000)
    for written, snapshot in (
        (origin.source(begin, 900, 950), "false"),
        (origin.read(begin, 900), "incremental"),
    ):
        block = orjson.loads(written)
        assert list(block) == names
        assert (block["table"], block["ts_ms"], block["snapshot"]) == (table.table, 5000, snapshot)
