"""What `check` says of servers that cannot be had here, or cannot be made so in a moment."""

from typing import Any

import pytest
from sqlalchemy import make_url

from agent.connectors.dialects.mysql import MySQL
from agent.connectors.mysql.server import Server
from agent.connectors.mysql.server_findings import judged_server, kept_seconds, logs_cascades
from agent.findings import Finding

MARIADB = {
    "binlog_expire_logs_seconds": "864000",
    "binlog_format": "row",
    "binlog_row_image": "full",
    "binlog_row_metadata": "full",
    "expire_logs_days": "10.000000",
    "log_bin": "on",
    "sync_binlog": "1",
}
MYSQL = {
    **MARIADB,
    "binlog_row_value_options": "",
    "enforce_gtid_consistency": "on",
    "expire_logs_days": "0",
    "gtid_mode": "on",
}


def mariadb(*version: int, **variables: str) -> Server:
    return Server(True, version or (10, 11, 19), {**MARIADB, **variables})


def mysql(*version: int, **variables: str) -> Server:
    return Server(False, version or (8, 0, 15), {**MYSQL, **variables})


def wrong(server: Server) -> list[Finding]:
    """Returns what is not as it should be."""
    return [finding for finding in judged_server(server) if finding.level != "ok"]


@pytest.mark.parametrize("server", [mariadb(), mysql(), mariadb(12, 3, 1), mysql(9, 7, 4)])
def test_nothing_is_wrong(server: Server) -> None:
    assert [finding.code for finding in judged_server(server)] == ["LOG_RETENTION", "SERVER_OK"]


@pytest.mark.parametrize(
    ("server", "code", "told"),
    [
        (mariadb(10, 4, 30), "SERVER_TOO_OLD", "trigger or polling"),
        (mysql(5, 7, 44), "SERVER_TOO_OLD", "trigger or polling"),
        (mysql(8, 0, 0), "SERVER_TOO_OLD", "trigger or polling"),
        (mariadb(log_bin="off"), "LOG_OFF", "log_bin = binlog"),
        (mysql(log_bin="0"), "LOG_OFF", "binlog_row_metadata = FULL"),
        (mariadb(binlog_format="statement"), "LOG_FORMAT", "SET GLOBAL binlog_format = 'ROW';"),
        (mysql(binlog_format="mixed"), "LOG_FORMAT", "SET PERSIST binlog_format = 'ROW';"),
        (mysql(binlog_row_value_options="partial_json"), "LOG_VALUE_OPTIONS", "= '';"),
        (mariadb(binlog_storage_engine="innodb"), "LOG_UNTRIED", ""),
        (mysql(lower_case_table_names="2"), "NAMES_UNTRIED", ""),
        (mariadb(max_binlog_total_size="1073741824"), "LOG_RETENTION", ""),
        (mysql(binlog_expire_logs_seconds="259199"), "LOG_RETENTION", "seconds = 604800;"),
        (mariadb(sync_binlog="0"), "LOG_UNSYNCED", "SET GLOBAL sync_binlog = 1;"),
    ],
)
def test_what_is_wrong_has_a_code_and_a_way_out(server: Server, code: str, told: str) -> None:
    [finding] = wrong(server)
    assert finding.code == code
    assert told in finding.fix


def test_an_old_mariadb_keeps_its_log_for_days() -> None:
    """It has no variable of seconds."""
    variables = {**MARIADB, "expire_logs_days": "2"}
    del variables["binlog_expire_logs_seconds"]
    server = Server(True, (10, 5, 29), variables)
    assert kept_seconds(server) == 2 * 86_400
    [finding] = wrong(server)
    assert "SET GLOBAL expire_logs_days = 7;" in finding.fix


@pytest.mark.parametrize(
    ("server", "seconds"),
    [
        (mariadb(binlog_expire_logs_seconds="0", expire_logs_days="0.000000"), 0),
        (mysql(binlog_expire_logs_seconds="0", expire_logs_days="0"), 0),
        (mysql(binlog_expire_logs_auto_purge="off"), 0),
        (mysql(binlog_expire_logs_seconds="0", expire_logs_days="9"), 9 * 86_400),
    ],
)
def test_for_how_long_a_log_is_kept(server: Server, seconds: int) -> None:
    assert kept_seconds(server) == seconds
    assert wrong(server) == []


@pytest.mark.parametrize(
    ("mode", "consistent", "steps"),
    [
        ("off", "off", ["enforce", "enforce", "OFF_PERMISSIVE", "ON_PERMISSIVE", "SHOW", "ON"]),
        ("off", "on", ["OFF_PERMISSIVE", "ON_PERMISSIVE", "SHOW", "ON"]),
        ("off_permissive", "on", ["ON_PERMISSIVE", "SHOW", "ON"]),
        ("on_permissive", "on", ["SHOW", "ON"]),
    ],
)
def test_the_steps_to_names_of_transactions(mode: str, consistent: str, steps: list[str]) -> None:
    """Those that are left, in the order that the server demands."""
    [finding] = wrong(mysql(gtid_mode=mode, enforce_gtid_consistency=consistent))
    assert finding.code == "GTID_OFF"
    found = []
    for line in finding.fix.splitlines():
        if line.startswith("SET PERSIST enforce"):
            found.append("enforce")
        elif not line.startswith("--"):
            found.append(line.removesuffix(";").split()[-1 if line.startswith("SET") else 0])
    assert found == steps


def test_a_type_that_sqlalchemy_does_not_know_is_named() -> None:
    """It would fail at the number of VECTOR(3), so that no column of the table could be read."""
    dialect = MySQL()
    made: Any = dialect.engine(make_url("mysql+pymysql://user@host/unit"), None, 1.0).dialect
    vector = made.ischema_names["vector"](3)
    assert dialect.type_name(vector) == "VECTOR(3)"
    kind = dialect.kind(vector, in_key=False)
    assert kind is not None
    assert kind.name == "real[]"


@pytest.mark.parametrize(
    ("server", "are_logged"),
    [
        (mariadb(11, 8, 9), False),
        (mysql(), False),
        (mysql(9, 5, 0), False),
        (mysql(9, 7, 4, innodb_native_foreign_keys="off"), True),
        (mysql(9, 7, 4, innodb_native_foreign_keys="on"), False),
    ],
)
def test_since_when_cascades_are_logged(server: Server, are_logged: bool) -> None:
    assert logs_cascades(server) == are_logged
