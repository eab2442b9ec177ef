"""What PostgreSQL's errors mean for a front end.

Only SQLSTATE and names are reported: PostgreSQL's messages may quote values.
"""

from typing import Any

from agent.connectors.postgres import sqlstates
from agent.errors import (
    AgentError,
    FrontBusy,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.messages import mark, phrase
from agent.resource import Target

# Signs of a refused login in the client's own messages
_LOGIN_SIGNS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
)
_NO_SCHEMA = "3F000"


def reason_of(cause: BaseException) -> str:
    """Returns SQLSTATE, kind, and the names of the constraint and the column that it speaks of."""
    sqlstate = getattr(cause, "sqlstate", None) or ""
    diag: Any = getattr(cause, "diag", None)
    named = [
        getattr(diag, "constraint_name", None),
        getattr(diag, "column_name", None),
    ]
    names = " ".join(str(name) for name in named if name)
    return f"SQLSTATE {sqlstate} {type(cause).__name__} {names}".strip()


def server_error(  # noqa: PLR0911 - one for each kind of error
    cause: BaseException,
    target: Target | None,
    user: str,
) -> AgentError:
    """Returns our error for one that the server sent."""
    sqlstate = getattr(cause, "sqlstate", None) or ""
    reason = reason_of(cause)
    match sqlstates.kind(sqlstate):
        case "away":
            return FrontUnreachable(reason=reason)
        case "busy":
            return FrontBusy(reason=reason)
        case "full":
            return FrontFull(reason=reason)
        case "login":
            return LoginRefused(peer=phrase("the front-end database"), user=user, reason=reason)
        case "unfit" if sqlstate == _NO_SCHEMA:
            text = mark("its search_path names no schema for new tables: {reason}")
            return FrontUnfit(reason=phrase(text, reason=reason))
        case "unfit":
            return FrontUnfit(reason=reason)

    if target is None:
        return FrontUnfit(reason=reason)
    if sqlstates.kind(sqlstate) == "table":
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
    return RowRefused(resource=target.resource, table=target.name, reason=reason)


def client_error(message: str, user: str) -> AgentError:
    """Returns our error for the client's own message about a connection.

    Such a message names server, port and user at the most.
    """
    lines = message.strip().splitlines()
    first = lines[0] if lines else "connection lost"
    if any(sign in message for sign in _LOGIN_SIGNS):
        return LoginRefused(peer=phrase("the front-end database"), user=user, reason=first)
    return FrontUnreachable(reason=first)
