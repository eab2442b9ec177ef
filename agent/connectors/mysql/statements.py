"""Says what the statements that the log holds as text mean for a reader of rows.

Statements of the server's own (DDL, the ends of transactions) are always text. Statements that
change rows are text only where a session logs statements instead of rows.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from agent.connectors.mysql.charsets import NoText, text_decoder
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

    # The server writes some statements itself, in UTF-8, whatever the session's character set is
    as_utf8: str = ""
    is_readable: bool = True  # its letters are known, so a name that is not seen is not there


# Space and comments, which may stand between any two words. Comments with ! are statements
_GAP: Final = r"(?:\s|/\*(?!M?!).*?\*/|--(?=\s|$)[^\n]*|#[^\n]*)"
_BEFORE: Final = re.compile(rf"(?:{_GAP}|/\*M?!\d*)+", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_]+")
_NAME: Final = r"`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$]+"
_TRUNCATE: Final = re.compile(
    rf"TRUNCATE{_GAP}+(?:TABLE{_GAP}+)?(?:({_NAME}){_GAP}*\.{_GAP}*)?({_NAME}){_GAP}*;?{_GAP}*",
    re.IGNORECASE | re.DOTALL,
)
# Statements that begin with a harmless word, and hold another one
_HOLDS_ANOTHER: Final = re.compile(
    rf"SET{_GAP}+STATEMENT\b|ANALYZE{_GAP}+(?!(?:NO_WRITE_TO_BINLOG|LOCAL|TABLES?)\b)",
    re.IGNORECASE | re.DOTALL,
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


def statement_of(raw: bytes, charset: str = "utf8mb4") -> Statement:
    """Reads a statement; one that nobody knows may change any row. `charset`: of its session."""
    as_utf8 = raw.decode("utf-8", "replace")
    decoded = _decoded(raw, charset)
    is_readable = decoded is not None or "\N{REPLACEMENT CHARACTER}" not in as_utf8
    found = _understood(as_utf8 if decoded is None else decoded)
    return found._replace(as_utf8=as_utf8, is_readable=is_readable)


def _decoded(raw: bytes, charset: str) -> str | None:
    """Returns a text of a character set; None where its letters are not known."""
    decode = text_decoder(charset)
    if decode is None:
        return None
    try:
        return decode(raw)
    except NoText:
        return None


def _understood(text: str) -> Statement:
    begun = _BEFORE.match(text)
    if begun is not None:
        text = text[begun.end() :]

    found = _WORD.match(text)
    word = found[0].upper() if found is not None else ""
    if word == "XA":
        return Statement(_xa(text), text)
    if word == "TRUNCATE":
        return _truncate(text)
    if _HOLDS_ANOTHER.match(text):
        return Statement(Meaning.ROWS, text)
    return Statement(_BY_WORD.get(word, Meaning.ROWS), text)


def _xa(text: str) -> Meaning:
    found = _XA.match(text)
    word = found[1].upper() if found is not None else ""
    meaning = _BY_XA.get(word, Meaning.ROWS)
    if meaning is Meaning.COMMIT_PREPARED and _ONE_PHASE.search(text):
        return Meaning.COMMIT
    return meaning


def _truncate(text: str) -> Statement:
    """Takes over a table's name only where nothing is left over: else any table may be meant."""
    found = _TRUNCATE.fullmatch(text)
    if found is None:
        return Statement(Meaning.DEFINITION, text)
    return Statement(Meaning.TRUNCATE, text, (_plain(found[1] or ""), _plain(found[2])))


def _plain(name: str) -> str:
    """Returns a name without its quotes."""
    if name[:1] in ("`", '"'):
        quote = name[0]
        return name[1:-1].replace(quote * 2, quote)
    return name


def names_table(statement: Statement, table: TableName, session_schema: str) -> bool:
    """Tells whether a statement names a table, and so may concern it.

    It names the schema, too, unless that is the session's own. `session_schema`: '' where the log
    does not say it.
    """
    schema, name = table
    if not _names(statement, name):
        return False
    is_own = session_schema.casefold() in ("", schema.casefold())
    return is_own or _names(statement, schema)


def _names(statement: Statement, name: str) -> bool:
    """Tells whether a name stands in a statement.

    Letters are compared without their case, as some servers do.
    """
    spellings = {name, name.replace("`", "``"), name.replace('"', '""')}
    listed = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    pattern = rf"(?<![\w$])(?:{listed})(?![\w$])"
    texts = (statement.text, statement.as_utf8)
    return any(re.search(pattern, text, re.IGNORECASE) is not None for text in texts)


def drops_schema(statement: Statement, schema: str) -> bool:
    """Tells whether a statement drops a schema, with all its tables."""
    is_drop = _DROPS_SCHEMA.match(statement.text) is not None
    return is_drop and _names(statement, schema)
