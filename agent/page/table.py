"""Writes tables of data."""

from collections.abc import Iterable, Sequence

from agent.page.markup import Markup, element


def write(
    headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str, kind: str = "list"
) -> Markup:
    """Returns a table whose rows begin with their heading, as `headings` do with that of theirs.

    `kind` is its class. The roles are written out, since on a phone rows are shown as blocks.
    """
    cells = [element("th", text, scope="col", role="columnheader") for text in headings]
    head = element("thead", element("tr", *cells, role="row"), role="rowgroup")
    body = element("tbody", *[_row(headings, row) for row in rows], role="rowgroup")
    title = element("caption", caption)
    return element("table", title, head, body, role="table", class_=kind)


def _row(headings: Sequence[str], row: Sequence[str]) -> Markup:
    cells = [element("th", row[0], scope="row", role="rowheader")]
    for heading, value in zip(headings[1:], row[1:], strict=True):
        cells.append(element("td", value, role="cell", data_label=heading))
    return element("tr", *cells, role="row")
