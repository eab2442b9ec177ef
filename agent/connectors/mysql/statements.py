"""Says what the statements that the log holds as text mean for a reader of rows.

Statements of the server's own (DDL, the ends of transactions) are always text. Statements that
change rows are text only where a session logs statements instead of rows.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from agent.connectors.table import TableName


class Meaning(Enum):
    """What a statement means for the transaction that it stands in, or for tables."""

    BEGIN = "a transaction begins"
    COMMIT = "the transaction is complete"
    ROLLBACK = "what the transaction has done is undone, or a part of it"
    PREPARED = "an XA transaction begins, or ends without being complete"
    COMMIT_PREPARED = "an XA transaction is complete that another one has prepared"
    ROLLBACK_PREPARED = "an XA transaction is undone that another one has prepared"
    TRUNCATE = "a table is emptied"
    DEFINITION = "something is made, changed or dropped"
    NOTHING = "no row and no table is changed"
    ROWS = "rows are changed, nobody knows which"


class Statement(NamedTuple):
    """A statement, as far as a reader of rows has to understand it."""

    meaning: Meaning
    text: str
    table: TableName | None = None  # of TRUNCATE; schema '': the session's own


# A comment, which the server may have put before the statement. Those with ! are statements
_COMMENTS: Final = re.compile(r"(?:\s|/\*(?!!).*?\*/|--[ \t].*?(?:\n|$)|#.*?(?:\n|$))+", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_]+")
_NAME: Final = r"`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$]+"
_TRUNCATE: Final = re.compile(
    rf"TRUNCATE\s+(?:TABLE\s+)?(?:({_NAME})\s*\.\s*)?({_NAME})", re.IGNORECASE
)
_XA: Final = re.compile(r"XA\s+([A-Za-z]+)", re.IGNORECASE)
_ONE_PHASE: Final = re.compile(r"\sONE\s+PHASE\s*$", re.IGNORECASE)

_DROPS_SCHEMA: Final = re.compile(r"DROP\s+(?:DATABASE|SCHEMA)\b", re.IGNORECASE)

_BY_WORD: Final = {
    "BEGIN": Meaning.BEGIN,
    "START": Meaning.BEGIN,
    "COMMIT": Meaning.COMMIT,
    "ROLLBACK": Meaning.ROLLBACK,
    "SAVEPOINT": Meaning.NOTHING,
    "RELEASE": Meaning.NOTHING,
    "ALTER": Meaning.DEFINITION,
    "CREATE": Meaning.DEFINITION,
    "DROP": Meaning.DEFINITION,
    "RENAME": Meaning.DEFINITION,
    "OPTIMIZE": Meaning.DEFINITION,
    "REPAIR": Meaning.DEFINITION,
    "IMPORT": Meaning.DEFINITION,
    "ANALYZE": Meaning.NOTHING,
    "CHECK": Meaning.NOTHING,
    "FLUSH": Meaning.NOTHING,
    "GRANT": Meaning.NOTHING,
    "REVOKE": Meaning.NOTHING,
    "INSTALL": Meaning.NOTHING,
    "UNINSTALL": Meaning.NOTHING,
    "PURGE": Meaning.NOTHING,
    "RESET": Meaning.NOTHING,
    "SET": Meaning.NOTHING,
}
_BY_XA: Final = {
    "START": Meaning.PREPARED,
    "BEGIN": Meaning.PREPARED,
    "END": Meaning.PREPARED,
    "PREPARE": Meaning.PREPARED,
    "COMMIT": Meaning.COMMIT_PREPARED,
    "ROLLBACK": Meaning.ROLLBACK_PREPARED,
}


def statement_of(raw: bytes) -> Statement:
    """Reads a statement; one that nobody knows may change any row."""
    text = raw.decode("utf-8", "replace")
    begun = _COMMENTS.match(text)
    if begun is not None:
        text = text[begun.end() :]

    found = _WORD.match(text)
    word = found[0].upper() if found is not None else ""
    if word == "XA":
        return Statement(_xa(text), text)
    if word == "TRUNCATE":
        return _truncate(text)
    return Statement(_BY_WORD.get(word, Meaning.ROWS), text)


def _xa(text: str) -> Meaning:
    found = _XA.match(text)
    word = found[1].upper() if found is not None else ""
    meaning = _BY_XA.get(word, Meaning.ROWS)
    if meaning is Meaning.COMMIT_PREPARED and _ONE_PHASE.search(text):
        return Meaning.COMMIT
    return meaning


def _truncate(text: str) -> Statement:
    found = _TRUNCATE.match(text)
    if found is None:
        return Statement(Meaning.ROWS, text)
    return Statement(Meaning.TRUNCATE, text, (_plain(found[1] or ""), _plain(found[2])))


def _plain(name: str) -> str:
    """Returns a name without its quotes."""
    if name[:1] in ("`", '"'):
        quote = name[0]
        return name[1:-1].replace(quote * 2, quote)
    return name


def names_table(text: str, name: str) -> bool:
    """Tells whether a name stands in a statement: then the statement may concern its table.

    Letters are compared without their case, as some servers do.
    """
    pattern = rf"(?<![\w$]){re.escape(name)}(?![\w$])"
    return re.search(pattern, text, re.IGNORECASE) is not None


def drops_schema(text: str, schema: str) -> bool:
    """Tells whether a statement drops a schema, with all its tables."""
    return _DROPS_SCHEMA.match(text) is not None and names_table(text, schema)
