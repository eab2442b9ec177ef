"""Says what PostgreSQL's SQLSTATEs mean, for a front end and for a source.

They are told apart by class and, where a class is mixed, by code. A code that the server sent is an
answer: it never means that the server does not answer, but for those with which it ends a
connection. What is not listed concerns the statement, and so the table that the statement was for:
values, constraints, rights, and whatever a trigger raises.

A login that is refused has no SQLSTATE in libpq: there its text tells.
"""

CLASSES = {
    "0A": "table",  # not supported, e.g. an upsert where there are rules
    "08": "away",  # connection exceptions
    "0B": "busy",  # invalid transaction initiation
    "25": "unfit",  # the state of a transaction, read-only ones among them
    "26": "unfit",  # a prepared statement is not known: another session than the one before
    "28": "login",
    "3D": "login",  # no such database
    "3F": "unfit",  # no such schema, or none in the search_path
    "42": "table",  # it is not there, is another one, or may not be written to
    "40": "busy",  # deadlock, serialization
    "53": "busy",  # disk, memory, connections
    "55": "busy",  # locks
    "57": "busy",  # cancelled
    "58": "busy",  # errors of the system: input and output
    "72": "busy",  # snapshot too old
    "F0": "unfit",  # the server's configuration file
    "XX": "table",  # what nobody foresaw, an extension's functions among them; corrupted
}
CODES = {
    "25P03": "busy",  # idle too long
    "25P04": "busy",  # the transaction took too long
    "53100": "full",
    "55000": "table",  # an object is not in the state for it, e.g. a view that takes no rows
    "55P02": "unfit",  # a setting cannot be changed now
    "55P04": "row",  # a new enum value that is not to be used yet
    "58P01": "unfit",  # a file is missing
    "57P01": "away",  # shut down by its administrator
    "57P02": "away",  # another backend crashed
    "57P03": "away",  # starting up or shutting down
    "57P04": "away",  # the database was dropped
    "57P05": "away",  # the session was idle too long
}
# What libpq says of a login
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "is not permitted to log in",
    "does not exist",
)


def refuses_login(message: str) -> bool:
    """Whether libpq says in an error without SQLSTATE that the server refuses the login."""
    return any(sign in message for sign in _REFUSALS)


def is_passing(sqlstate: str) -> bool:
    """Whether an error may not come again: it is of the connection, of locks, space or time."""
    return kind(sqlstate) in ("away", "login", "busy")


def is_of_statement(sqlstate: str) -> bool:
    """Whether an error is of what a statement has met in its table, and not of the session.

    Corruption is among it.
    """
    return kind(sqlstate) in ("row", "table") or sqlstate == "58P01"


def kind(sqlstate: str) -> str:
    """Tells whom an error of the server concerns.

    All tables (away, login, busy, full or unfit), one table as it is, or the content of a row.
    """
    return CODES.get(sqlstate) or CLASSES.get(sqlstate[:2], "row")
