"""Judges the source server. No I/O.

That is version, primary, log level, room for a slot and its reader, and what bounds the slot.
"""

from collections.abc import Iterator
from typing import Any

from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate

OLDEST, NEWEST = 140_000, 189_999  # what the tests run on
_SET = "ALTER SYSTEM SET {name} = {value};"
_RESTART = mark("-- then restart the server")
_ELSE = mark("-- else raise the limit:")
_RELOAD = "SELECT pg_reload_conf();"
_MORE = 10  # slots or WAL senders that a full server is told to allow beside those it has


def check_server(server: Any, first: bool) -> list[Finding]:
    """Returns what stands against the server.

    `first`: the slot is still to be made, so there must be room for it.
    """
    found = [*_kind(server), *_encoding(server), *_room(server, first)]
    if not any(finding.level == "error" for finding in found):
        found.append(
            ok(
                "SERVER_OK",
                mark("PostgreSQL {version}, a primary with wal_level logical"),
                version=_version(server),
            )
        )
    return found


def check_limit(server: Any) -> Finding:
    """Demands that the owner has limited what a slot may keep on the source's disk."""
    if server.slot_keep_mb == -1:
        message = mark(
            "max_slot_wal_keep_size is not limited: while the agent or the front end is down, "
            "the log could fill this server's disk"
        )
        fix = translate(mark("-- choose what the disk can spare and the longest outage needs"))
        limited = _SET.format(name="max_slot_wal_keep_size", value="'50GB'")
        return error(
            "SLOT_LIMIT",
            message,
            f"{fix}\n{limited}\n{_RELOAD}",
        )
    return ok(
        "SLOT_LIMIT",
        mark("max_slot_wal_keep_size limits what a slot may keep to {size} MB"),
        size=server.slot_keep_mb,
    )


def check_warned(server: Any, configured: int | None) -> Finding:
    """Tells above how much kept log the agent warns, and whether the server lets it come to that.

    `configured`: source.warn_log_bytes.
    """
    most = server.slot_keep_mb << 20
    if configured is None:
        if most <= 0:
            message = mark("No source.warn_log_bytes: check and status do not warn of kept log")
            return ok("LOG_RETAINED", message)
        configured = most // 2
    if 0 <= most <= configured:
        message = mark(
            "source.warn_log_bytes is {bound} MB, max_slot_wal_keep_size only {size} MB: "
            "the server gives up the slot before anything warns"
        )
        fix = translate(mark("Set source.warn_log_bytes to half of it, or leave it out."))
        return warning("LOG_RETAINED", message, fix, bound=configured >> 20, size=most >> 20)
    message = mark(
        "Above {bound} MB of kept log, status and the service's log warn, "
        "and copies wait while the stream is behind"
    )
    return ok("LOG_RETAINED", message, bound=configured >> 20)


def check_given_up(server: Any, configured: int | None, most: int | None) -> Finding:
    """Tells whether the agent ever drops its slot by itself, and what that costs.

    `configured`: source.warn_log_bytes; `most`: source.max_log_bytes.
    """
    if most is None:
        message = mark("The agent never gives up its replication slot by itself")
        return ok("LOG_GIVEN_UP", message)
    limit = server.slot_keep_mb << 20
    if 0 <= limit <= most:
        message = mark(
            "source.max_log_bytes is {bound} MB, max_slot_wal_keep_size only {size} MB: "
            "the server gives up the slot first (SLOT_LOST)"
        )
        fix = translate(mark("Set source.max_log_bytes below it, or leave it out."))
        return warning("LOG_GIVEN_UP", message, fix, bound=most >> 20, size=limit >> 20)
    warned = limit // 2 if configured is None else configured
    if warned >= most:
        message = mark(
            "source.max_log_bytes is {bound} MB, but the agent warns only above {size} MB: "
            "it may give up its replication slot before anything has warned"
        )
        fix = translate(mark("Set source.warn_log_bytes to half of source.max_log_bytes."))
        return warning("LOG_GIVEN_UP", message, fix, bound=most >> 20, size=warned >> 20)
    message = mark(
        "Above {bound} MB of kept log, and while the agent cannot go on, it gives up its "
        "replication slot: what it has not read is in no event, and init --apply has every table "
        "compared"
    )
    return ok("LOG_GIVEN_UP", message, bound=most >> 20)


def check_idle(server: Any) -> list[Finding]:
    """Warns where the server gives up a slot for its age alone (PostgreSQL 18)."""
    if not server.slot_idle:
        return []
    message = mark(
        "idle_replication_slot_timeout is {time}: where the agent is down for longer, "
        "the server gives up its replication slot, "
        "and every table must be read again"
    )
    fix = f"{_SET.format(name='idle_replication_slot_timeout', value=0)}\n{_RELOAD}"
    return [warning("SLOT_IDLE", message, fix, time=server.slot_idle_text)]


def _kind(server: Any) -> Iterator[Finding]:
    if server.version < OLDEST:
        message = mark("PostgreSQL {version} is too old: 14 to 18 are supported")
        yield error(
            "SERVER_VERSION",
            message,
            translate(mark("Upgrade the server.")),
            version=_version(server),
        )
    elif server.version > NEWEST:
        message = mark(
            "PostgreSQL {version} is newer than what this version of the agent was tested with (14 "
            "to 18)"
        )
        yield warning(
            "SERVER_VERSION",
            message,
            translate(mark("Look for a newer version of the agent.")),
            version=_version(server),
        )
    if server.standby:
        yield error(
            "SOURCE_NOT_PRIMARY",
            mark("The server is a standby"),
            translate(mark("Point source.host and source.port at the primary server.")),
        )
    if server.wal_level != "logical":
        yield error(
            "WAL_LEVEL",
            mark("wal_level is {level}, logical is needed"),
            _changed("wal_level", "logical"),
            level=server.wal_level,
        )


def _encoding(server: Any) -> Iterator[Finding]:
    """Every text is shared as UTF-8, which not every text of another encoding has a form in."""
    if server.encoding == "UTF8":
        return
    message = mark(
        "The encoding of the database is {encoding}: text that has no form in UTF-8 cannot be "
        "shared, and suspends its table (VALUE_UNREADABLE)"
    )
    if server.encoding == "SQL_ASCII":
        message = mark(
            "The encoding of the database is SQL_ASCII, so it takes any bytes: "
            "text that is no UTF-8 cannot be shared, and suspends its table (VALUE_UNREADABLE)"
        )
    fix = translate(
        mark(
            "-- docs/OPERATIONS.md, VALUE_UNREADABLE, finds such rows; "
            "a database with ENCODING 'UTF8' has none"
        )
    )
    yield warning("SOURCE_ENCODING", message, fix, encoding=server.encoding)


def _room(server: Any, first: bool) -> Iterator[Finding]:
    if first and server.slots_left < 1:
        yield no_slot(server)
    if first and server.senders_left < 1:
        yield no_sender(server)


def no_slot(server: Any) -> Finding:
    """Tells that all replication slots are in use."""
    message = mark("No replication slot is left: all {count} of max_replication_slots are in use")
    seen = mark("-- these are in use; one that nobody needs any more can be dropped:")
    used = "SELECT slot_name, database, active, wal_status FROM pg_replication_slots;"
    fix = _seen_or_raised(seen, used, "max_replication_slots", server.slots)
    return error("SLOTS_LEFT", message, fix, count=server.slots)


def no_sender(server: Any) -> Finding:
    """Tells that all WAL senders are in use."""
    message = mark("No WAL sender is left: all {count} of max_wal_senders are in use")
    seen = mark("-- these are in use:")
    used = "SELECT pid, usename, application_name, client_addr, state FROM pg_stat_replication;"
    fix = _seen_or_raised(seen, used, "max_wal_senders", server.senders)
    return error("SENDERS_LEFT", message, fix, count=server.senders)


def _seen_or_raised(seen: str, used: str, limit: str, count: int) -> str:
    """Returns the query that shows who uses what is limited, and what raises the limit."""
    raised = _changed(limit, count + _MORE)
    return f"{translate(seen)}\n{used}\n{translate(_ELSE)}\n{raised}"


def no_replication(said: str, server: Any) -> Finding:
    """Tells why there is no replication connection, by what the client said of it.

    The server may speak another language.
    """
    lines = said.strip().splitlines()
    if "max_wal_senders" in said:
        return no_sender(server)
    fix = mark(
        "The role needs REPLICATION, and pg_hba.conf must let it into the database itself (no line "
        "for `replication` is needed)."
    )
    return error(
        "SOURCE_REPLICATION",
        mark("No replication connection: {reason}"),
        translate(fix),
        reason=lines[-1] if lines else "?",
    )


def _changed(name: str, value: object) -> str:
    return f"{_SET.format(name=name, value=value)}\n{translate(_RESTART)}"


def _version(server: Any) -> str:
    return f"{server.version // 10_000}.{server.version % 10_000}"
