"""Types of columns of a PostgreSQL front end: those we create, and those that hold every value."""

import re

from agent.resource import FrontColumn
from agent.values import column_types

_COLLATED = (
    column_types.TEXT,
    column_types.VARCHAR,
    column_types.BPCHAR,
    column_types.NAME,
    column_types.CHAR,
)

# Types whose text means another value in another database or session, or that take no text at all.
# Their columns are text here.
_FOREIGN = re.compile(r"money|xml|aclitem|gtsvector|reg|pg_(?!lsn|snapshot)")

# Types whose cast to text writes another text than the stream has: true for t, no blanks of
# char(n), an inet's mask where it is whole.
_OUTPUTS = {
    "boolean": "boolout",
    "character": "bpcharout",
    "bpchar": "bpcharout",
    '"char"': "charout",
    "cidr": "cidr_out",
    "inet": "inet_out",
}

# Types whose order hangs on no collation
ORDERED = (
    "smallint",
    "integer",
    "bigint",
    "oid",
    "numeric",
    "date",
    "uuid",
    "timestamp",
)

# Types whose values have one text each. Of other types some values are equal though their texts
# differ: intervals, numeric without a scale.
_SPELLED_ONCE = re.compile(
    r"(smallint|integer|bigint|oid|boolean|date|uuid|bytea|text|name|\"char\""
    r"|character( varying)?\(\d+\)|character varying|numeric\(\d+,\d+\)"
    r"|(time|timestamp)(\(\d\))? without time zone|timestamp(\(\d\))? with time zone)$"
)

# For each integer type, those that hold all of its values
_WIDER = {
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
}

# A type of a family whose members differ in size: family, size, scale, time zone
_FAMILY = re.compile(
    r"^(character varying|numeric|time|timestamp|interval)"
    r"(?:\((\d+)(?:,(\d+))?\))?( with(?:out)? time zone)?$"
)


def column_type(column: FrontColumn, in_key: bool) -> str:
    """Returns the type that we create, with its collation.

    What is not PostgreSQL's own, or foreign here, becomes text; keys are compared bytewise.
    """
    own = column.builtin and not _FOREIGN.match(column.type_name)
    declared = column.type_name if own else "text"
    collated = in_key and (column.type_oid in _COLLATED or declared == "text")
    return f'{declared} COLLATE "C"' if collated else declared


def accepts(source: str, target: str) -> bool:
    """Whether a column of type `target` holds every value of type `source` exactly.

    Both are written as format_type writes them.
    """
    if target in (source, "text") or target in _WIDER.get(source, ()):
        return True
    return _same_family_wider(source, target)


def _same_family_wider(source: str, target: str) -> bool:
    """Whether the target is a type of the source's family with room for more."""
    found = _FAMILY.match(source)
    other = _FAMILY.match(target)
    if found is None or other is None:
        return False

    family, size, scale, zone = found.groups()
    other_family, wider, wider_scale, other_zone = other.groups()
    if (family, zone) != (other_family, other_zone):
        return False

    if wider is None:
        return True
    if size is None:
        return family in ("time", "timestamp") and int(wider) == 6
    if family != "numeric":
        return int(wider) >= int(size)

    after = int(scale or 0)
    before = int(size) - after
    wider_after = int(wider_scale or 0)
    wider_before = int(wider) - wider_after
    return wider_after >= after and wider_before >= before


def spelled_once(declared: str) -> bool:
    """Whether each value of a type has one text only."""
    return _SPELLED_ONCE.match(declared) is not None


def value_of(column: FrontColumn, declared: str, name: str) -> str:
    """Returns SQL for a column as the source writes it; `name` is the column in the statement.

    In a column with more scale 5 is kept as 5.00.
    """
    source = column.type_name
    if (
        column.type_oid != column_types.NUMERIC
        or declared == source
        or not declared.startswith("numeric(")
    ):
        return name
    return f"CASE WHEN {name} = {name}::{source} THEN {name}::{source}::text ELSE {name}::text END"


def text_of(declared: str, value: str) -> str:
    """Returns SQL for a value of that type as a value of type text, as the stream has it."""
    plain = re.sub(r"\(\d+\)", "", declared)
    output = _OUTPUTS.get(plain)
    return f"textin({output}({value}))" if output else f"{value}::text"
