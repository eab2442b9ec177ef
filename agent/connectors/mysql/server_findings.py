"""Judges for `init` and `check` what a server logs, and for how long. No I/O."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from agent.connectors.mysql.server import Server
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate

# The first versions whose log has the names of columns
OLDEST_MARIADB: Final = (10, 5)
OLDEST_MYSQL: Final = (8, 0, 1)
SHORTEST_DAYS: Final = 3
_DAY: Final = 86_400  # seconds
_ON: Final = ("on", "1")

_IN_FILE: Final = mark("-- and in my.cnf, section [mysqld]: {line}")
_SESSIONS: Final = mark("-- sessions that are open keep the old value: restart the applications")


class _Wanted(NamedTuple):
    """A variable that has to have one value."""

    name: str
    value: str
    code: str
    message: str
    of_sessions: bool = False  # each session has its own


# One that the server does not have is as it should be
_WANTED: Final = (
    _Wanted(
        "binlog_format",
        "ROW",
        "LOG_FORMAT",
        mark("binlog_format is {found}: the binary log may have statements in place of rows"),
        of_sessions=True,
    ),
    _Wanted(
        "binlog_row_image",
        "FULL",
        "LOG_ROW_IMAGE",
        mark("binlog_row_image is {found}: rows in the binary log may lack columns"),
        of_sessions=True,
    ),
    _Wanted(
        "binlog_row_metadata",
        "FULL",
        "LOG_METADATA",
        mark("binlog_row_metadata is {found}: the binary log has no names of columns"),
    ),
    _Wanted(
        "binlog_row_value_options",
        "",
        "LOG_VALUE_OPTIONS",
        mark("binlog_row_value_options is {found}: the binary log may have parts of JSON values"),
        of_sessions=True,
    ),
)

# MySQL's way from one mode to the next while the server runs
_GTID_STEPS: Final = ("off_permissive", "on_permissive", "on")
_CONSISTENT: Final = (
    "SET PERSIST enforce_gtid_consistency = WARN;",
    mark("-- let the applications run; its error log must not warn of their statements"),
    "SET PERSIST enforce_gtid_consistency = ON;",
)
_NAMED: Final = (
    mark("-- wait until this is 0:"),
    "SHOW STATUS LIKE 'ONGOING_ANONYMOUS_TRANSACTION_COUNT';",
)


def judged_server(server: Server) -> list[Finding]:
    """Returns what stands against reading a server's log; one ok finding where nothing does."""
    found = list(_judged(server))
    if not any(finding.level == "error" for finding in found):
        text = mark("{server} logs whole rows, with the names of their columns")
        found.append(ok("SERVER_OK", text, server=server.name))
    return found


def _judged(server: Server) -> Iterator[Finding]:
    if not is_new_enough(server):
        yield _too_old(server)
        return
    if server.variable("log_bin") not in _ON:
        yield _no_log()
    for wanted in _WANTED:
        found = server.variables.get(wanted.name)
        if found is not None and found != wanted.value.lower():
            yield error(wanted.code, wanted.message, _fix(server, wanted), found=found.upper())
    yield from _gtids(server)
    yield _retention(server)
    yield from _hazards(server)


def is_new_enough(server: Server) -> bool:
    """Tells whether the server's log can have the names of columns."""
    oldest: tuple[int, ...] = OLDEST_MARIADB if server.is_mariadb else OLDEST_MYSQL
    return server.version >= oldest


def logs_cascades(server: Server) -> bool:
    """Tells whether rows that a foreign key changes by itself are in the log.

    They are since MySQL 9.6, which carries foreign keys out above the storage engine.
    """
    if server.is_mariadb or server.version < (9, 6):
        return False
    return server.variable("innodb_native_foreign_keys") not in _ON


def kept_seconds(server: Server) -> int:
    """Returns for how long the server keeps its log; 0: for ever."""
    if server.variable("binlog_expire_logs_auto_purge") in ("off", "0"):
        return 0
    seconds = int(server.variable("binlog_expire_logs_seconds") or 0)
    days = float(server.variable("expire_logs_days") or 0)
    return seconds or round(days * _DAY)


def _too_old(server: Server) -> Finding:
    text = mark("the binary log of {server} cannot have the names of columns")
    fix = mark(
        "Set source.type to trigger or polling (docs/sources), or upgrade the server to "
        "MariaDB 10.5 or MySQL 8.0.1."
    )
    return error("SERVER_TOO_OLD", text, translate(fix), server=server.name)


def _no_log() -> Finding:
    text = mark("the server writes no binary log (log_bin)")
    lines = [
        translate(mark("-- in my.cnf, section [mysqld], with a server_id of its own; restart it")),
        "server_id = 1",
        "log_bin = binlog",
        "binlog_format = ROW",
        "binlog_row_image = FULL",
        "binlog_row_metadata = FULL",
    ]
    return error("LOG_OFF", text, "\n".join(lines))


def _set(server: Server, name: str, value: str) -> list[str]:
    """Returns the statement that sets a variable for good, and what MariaDB needs besides."""
    written = value if value.isdigit() else f"'{value}'"
    if not server.is_mariadb:
        return [f"SET PERSIST {name} = {written};"]
    in_file = translate(_IN_FILE, line=f"{name} = {value}")
    return [f"SET GLOBAL {name} = {written};", in_file]


def _fix(server: Server, wanted: _Wanted) -> str:
    lines = _set(server, wanted.name, wanted.value)
    if wanted.of_sessions:
        lines.append(translate(_SESSIONS))
    return "\n".join(lines)


def _gtids(server: Server) -> Iterator[Finding]:
    """Yields that a MySQL server does not name its transactions. MariaDB always does."""
    mode = server.variable("gtid_mode")
    consistent = server.variable("enforce_gtid_consistency")
    if server.is_mariadb or (mode, consistent) == ("on", "on"):
        return
    lines = [translate(mark("-- on every server of the replication, one step after the other:"))]
    if consistent != "on":
        lines += [translate(line) for line in _CONSISTENT]
    ahead: Sequence[str] = _GTID_STEPS
    if mode in _GTID_STEPS:
        ahead = _GTID_STEPS[_GTID_STEPS.index(mode) + 1 :]
    for step in ahead:
        if step == "on":
            lines += [translate(line) for line in _NAMED]
        lines.append(f"SET PERSIST gtid_mode = {step.upper()};")
    text = mark(
        "gtid_mode is {mode} and enforce_gtid_consistency {consistent}: transactions have no names "
        "by which the agent finds its place"
    )
    shown = {"mode": mode.upper(), "consistent": consistent.upper()}
    yield error("GTID_OFF", text, "\n".join(lines), **shown)


def _retention(server: Server) -> Finding:
    """Tells for how long the agent may be away."""
    seconds = kept_seconds(server)
    largest = server.variable("max_binlog_total_size") or server.variable("binlog_space_limit")
    if largest not in ("", "0"):
        text = mark(
            "the server deletes its oldest log above {size} MB, whether the agent has read it or "
            "not: if it has not, every table is compared"
        )
        return warning("LOG_RETENTION", text, size=int(largest) >> 20)
    if not seconds:
        return ok("LOG_RETENTION", mark("the server deletes no binary log by itself"))
    if seconds >= SHORTEST_DAYS * _DAY:
        text = mark("the server keeps its binary log for {days} days")
        return ok("LOG_RETENTION", text, days=seconds // _DAY)
    text = mark(
        "the server keeps its binary log for {hours} hours only: if the agent is away for longer, "
        "every table is compared"
    )
    name, value = "binlog_expire_logs_seconds", 7 * _DAY
    if name not in server.variables:
        name, value = "expire_logs_days", 7
    fix = "\n".join(_set(server, name, str(value)))
    return warning("LOG_RETENTION", text, fix, hours=round(seconds / 3600))


def _hazards(server: Server) -> Iterator[Finding]:
    """Yields what may cost changes some day."""
    if server.variable("binlog_storage_engine") not in ("", "none"):
        text = mark(
            "binlog_storage_engine is {engine}: nobody has tried the agent with such a log yet"
        )
        yield warning("LOG_UNTRIED", text, engine=server.variable("binlog_storage_engine"))
    if server.variable("lower_case_table_names") == "2":
        text = mark("lower_case_table_names is 2: nobody has tried the agent with such names yet")
        yield warning("NAMES_UNTRIED", text)
    if server.variable("sync_binlog") not in ("", "1"):
        text = mark(
            "sync_binlog is {found}: when its machine fails, the server may lose changes from the "
            "log that tables have, or the other way round"
        )
        fix = "\n".join(_set(server, "sync_binlog", "1"))
        yield warning("LOG_UNSYNCED", text, fix, found=server.variable("sync_binlog"))
