"""Lists the tables of a source as people choose among them."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from agent.connectors.discovery import FoundTable
from agent.findings import Finding
from agent.messages import mark, translate
from agent.setup.blocks import one_line, size_text
from agent.setup.proposals import Proposal

_UNKNOWN = "–"
_HEADINGS = (
    mark("table"),
    mark("rows, about"),
    mark("size"),
    mark("columns"),
    mark("key"),
    mark("comment"),
    mark("to be decided"),
)


def listing(proposals: Sequence[Proposal], *, numbered: bool = False) -> Table:
    """Returns the tables with their sizes, keys and comments, and what has to be decided first."""
    headings = [translate(heading) for heading in _HEADINGS]
    table = Table(*(["#", *headings] if numbered else headings))
    for number, proposal in enumerate(proposals, 1):
        found = proposal.found
        cells = [
            one_line(found.full_name),
            _UNKNOWN if found.rows is None else f"{found.rows:,}",
            _UNKNOWN if found.bytes is None else size_text(found.bytes),
            str(len(found.columns)),
            ", ".join([one_line(name) for name in found.key]) or _UNKNOWN,
            one_line(found.comment),
            _undecided(proposal),
        ]
        shown = [str(number), *cells] if numbered else cells
        # Names of tables are no markup
        table.add_row(*[Text(cell) for cell in shown])
    return table


def undecided(proposals: Sequence[Proposal]) -> list[Finding]:
    """Returns everything that stands in the way of a table, each with what fixes it."""
    return [finding for proposal in proposals for finding in proposal.obstacles]


def _undecided(proposal: Proposal) -> str:
    """Says in a few words why a table is not shared as it is."""
    said = [finding.code for finding in proposal.obstacles]
    if proposal.personal_key:
        said.append(translate(mark("personal data in the key")))
    if proposal.guessed:
        said.append(translate(mark("personal data: {count}"), count=len(proposal.guessed)))
    return ", ".join(said)


def plain(found: FoundTable) -> dict[str, object]:
    """Returns a table as plain data, for programs."""
    return {
        "table": found.full_name,
        "rows": found.rows,
        "bytes": found.bytes,
        "key": list(found.key),
        "comment": found.comment,
        "view": found.view,
        "columns": [
            {"name": column.name, "type": column.declared, "comment": column.comment}
            for column in found.columns
        ],
        "obstacles": [finding.code for finding in found.obstacles],
    }
