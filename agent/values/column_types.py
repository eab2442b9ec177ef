"""Types of columns, named by PostgreSQL's OIDs: the types that canonical values belong to."""

from typing import NamedTuple

BOOL = 16
BYTEA = 17
CHAR = 18  # "char", a single byte
NAME = 19
INT8 = 20
INT2 = 21
INT4 = 23
TEXT = 25
OID = 26
JSON = 114
CIDR = 650
FLOAT4 = 700
FLOAT8 = 701
MONEY = 790
INET = 869
FLOAT4_ARRAY = 1021
BPCHAR = 1042  # character(n)
VARCHAR = 1043
DATE = 1082
TIME = 1083
TIMESTAMP = 1114
TIMESTAMPTZ = 1184
INTERVAL = 1186
TIMETZ = 1266
NUMERIC = 1700
UUID = 2950
JSONB = 3802


class Element(NamedTuple):
    """What an array holds."""

    type_oid: int  # the base type of its elements
    delimiter: str = ","  # stands between the elements in the text


class Type(NamedTuple):
    """The type of a column; of a domain, the base type below it."""

    oid: int
    name: str = ""  # as format_type writes it, such as numeric(10,2); '' where nobody needs it
    builtin: bool = True  # it belongs to PostgreSQL itself
    # Of an array: what it holds, then what that holds where it is a domain over an array, and so on
    elements: tuple[Element, ...] = ()
    money_digits: int = 2  # after the point of money, in the database's own lc_monetary
