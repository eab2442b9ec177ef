"""Decides whether a server has what the agent needs to go on where it was left."""

from sqlalchemy import Connection

from agent.connectors.mysql.continuation import gap_behind, left_at
from agent.connectors.mysql.dump import Refused
from agent.connectors.mysql.log_place import LogPlace
from agent.connectors.mysql.packing import Damaged
from agent.connectors.mysql.server import Server
from agent.connectors.resume import Resume
from agent.errors import (
    AgentError,
    DuplicateAgent,
    LogLost,
    ProtocolViolated,
    SourceForked,
    SourceUnfit,
    SourceUnreachable,
)
from agent.messages import phrase


def place_of(resume: Resume, server: Server) -> LogPlace:
    """Returns where the stream goes on. Raises ProtocolViolated for what is no place."""
    try:
        return left_at(resume, is_mariadb=server.is_mariadb)
    except Damaged as error:
        raise ProtocolViolated(position=resume.position, what=str(error)) from None


def check(connection: Connection, server: Server, place: LogPlace, position: str) -> None:
    """Compares the server with what was applied of it. Raises the driver's errors.

    Raises SourceUnfit where the server names no transactions, SourceForked where it lacks one that
    was applied, LogLost where it has purged one that was not.
    """
    if server.variable("log_bin") not in ("1", "on"):
        raise SourceUnfit(reason=phrase("it writes no binary log (log_bin)"))
    if not server.is_mariadb and server.variable("gtid_mode") != "on":
        raise SourceUnfit(reason=phrase("it names no transactions (gtid_mode)"))

    match gap_behind(connection, server, place):
        case "foreign":
            reason = phrase("transactions that were applied are not in its log")
            raise SourceForked(position=position, reason=reason)
        case "purged":
            raise _purged(position)


def refused(error: Refused, position: str, address: str) -> AgentError:
    """Returns what it means that the server does not send its log, or not any more."""
    if error.cause == "purged":
        return _purged(position)
    if error.cause == "taken":
        return DuplicateAgent(reason=phrase("another replica has the same server id"))
    if error.cause == "login":
        return SourceUnfit(reason=phrase("the right REPLICATION SLAVE is missing"))
    return SourceUnreachable(address=address, reason=str(error))


def _purged(position: str) -> LogLost:
    return LogLost(position=position, reason=phrase("the server has purged it"))
