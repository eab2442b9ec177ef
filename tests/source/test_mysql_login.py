"""How the agent logs in to servers of the MySQL family, and verifies who answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pymysql
import pytest

from agent.config import ResourceSettings
from agent.connectors.database.session import Database
from agent.connectors.mysql.source import MySqlSource
from agent.connectors.position import position_text
from agent.connectors.resume import CommitMark, Resume
from agent.errors import LoginRefused, SourceUnreachable
from tests.services.certificates import RSA, Certificates
from tests.services.mariadb import OwnServer, execute
from tests.services.processes import server_owner
from tests.source.logging_mysql import KINDS, MARIADB, MYSQL, server_with_log
from tests.source.reading import asking, page_of, read_commits, rows_of, silent_never

# The way to log in that each server has by default
LOGINS = {
    **dict.fromkeys(MARIADB, "VIA mysql_native_password USING PASSWORD('secret')"),
    **dict.fromkeys(MYSQL, "WITH caching_sha2_password BY 'secret'"),
}


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with TemporaryDirectory(prefix="sync-certificates-") as folder:
        Path(folder).chmod(0o755)  # the server may have another user
        yield Certificates.create(Path(folder), server_owner(), RSA)


@contextmanager
def encrypting(kind: str, certificates: Certificates, file: Path) -> Iterator[OwnServer]:
    """Runs a server with a certificate, an account of the agent, and a table."""
    tls = (f"--ssl-ca={certificates.ca_file}", f"--ssl-cert={file}", f"--ssl-key={file}")
    with server_with_log(kind, *tls) as server:
        for statement in (
            f"CREATE USER agent@'%' IDENTIFIED {LOGINS[kind]}",
            "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO agent@'%'",
            "CREATE DATABASE unit",
            "CREATE TABLE unit.orders (id INT PRIMARY KEY, note LONGTEXT)",
        ):
            execute(server.url, statement)
        yield server


def database(server: OwnServer, **query: str) -> Database:
    """Returns the way to a server, with what the URL says of TLS."""
    url = server.url.set(drivername=f"{server.url.get_backend_name()}+pymysql", username="agent")
    url = url.set(database="unit", query=query)
    return Database(url.render_as_string(), lambda: "secret", 20.0)


@pytest.mark.parametrize("kind", KINDS)
def test_log_and_pages_come_over_a_line_that_is_verified(
    kind: str, certificates: Certificates
) -> None:
    """Packets larger than a record of TLS, too."""
    with encrypting(kind, certificates, certificates.server_file) as server:
        variable = "gtid_binlog_pos" if kind in MARIADB else "gtid_executed"
        [(executed,)] = execute(server.url, f"SELECT @@global.{variable}")
        execute(server.url, "INSERT INTO unit.orders VALUES (1, REPEAT('x', 100000)), (2, 'y')")

        verified = database(server, ssl_ca=str(certificates.ca_file))
        with verified.connect() as connection:
            (cipher,) = connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").all()
        assert cipher[1]

        resource = {"name": "orders", "table": "orders", "columns": ["id", "note"]}
        places = {("", "orders"): ResourceSettings.model_validate(resource)}
        source = MySqlSource(verified, places, "unit", agent="agent", server_id=4711)
        start = Resume(position_text(1 << 20), CommitMark("", 0, 0), {"executed": executed})
        source.open(start, silent_never)
        try:
            [commit] = read_commits(source, 1)
            expected = [("1", "x" * 100_000), ("2", "y")]
            assert [after for _, _, after in commit.rows] == expected
            page, _ = page_of(source, asking(source, limit=10))
            assert rows_of(page) == expected
        finally:
            source.close()


@pytest.mark.parametrize(
    ("shown", "trusted", "reason"),
    [
        ("misnamed_file", "ca_file", "IP address mismatch"),
        ("expired_file", "ca_file", "certificate has expired"),
        ("server_file", "other_ca_file", "self-signed certificate in certificate chain"),
    ],
)
@pytest.mark.parametrize("kind", ["mariadb", "mysql8"])
def test_a_server_that_is_another_is_named(
    kind: str, shown: str, trusted: str, reason: str, certificates: Certificates
) -> None:
    with encrypting(kind, certificates, getattr(certificates, shown)) as server:
        unverified = database(server, ssl_ca=str(getattr(certificates, trusted)))
        with pytest.raises(SourceUnreachable, match=f"certificate verify failed: .*{reason}"):
            unverified.connect()


def test_a_login_without_its_package_is_named(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL's password is encrypted by the driver itself where the line is not."""
    with encrypting("mysql8", certificates, certificates.server_file) as server:
        plain = database(server, ssl_disabled="true")
        plain.connect().close()
        execute(server.url, "FLUSH PRIVILEGES")  # the server forgets who has logged in

        monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
        with pytest.raises(LoginRefused, match="'cryptography' package is required"):
            plain.connect()
