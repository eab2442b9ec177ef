"""Tests TLS to the business database, verified in full.

What is wrong with certificate or password is named in `check` and at run time.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agent.connectors.postgres.session import connect
from agent.errors import AgentError, LoginRefused, SourceUnreachable
from tests.preflight.conftest import NOWHERE, Unit
from tests.services.postgres import SecurePostgres

USER, PASSWORD = "agent_verified", "right"


@pytest.fixture(scope="module")
def server() -> Iterator[SecurePostgres]:
    """Yields a server with TLS and passwords."""
    with SecurePostgres.start(15) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {USER} LOGIN REPLICATION PASSWORD '{PASSWORD}'")
        yield server


@pytest.fixture
def verified(server: SecurePostgres, tmp_path: Path) -> Unit:
    """Returns a unit whose agent verifies the server in full and logs in by password."""
    server.show(server.certificates.server_file)
    unit = Unit(server.dsn(), tmp_path, NOWHERE, "source")
    (tmp_path / "password").write_text(PASSWORD)
    tls = {
        "host": "localhost",
        "sslmode": "verify-full",
        "sslrootcert": str(server.certificates.ca_file),
    }
    return unit.change(
        source={"user": USER, "password": {"file": str(tmp_path / "password")}, **tls}
    )


def told(unit: Unit) -> list[str]:
    """Codes and sentences of `check` about the way to the database."""
    findings = [finding for finding in unit.check_source() if finding.level == "error"]
    return [
        f"{finding.code}: {finding.message}"
        for finding in findings
        if finding.code in ("SOURCE_TLS", "SOURCE_LOGIN", "SOURCE_NETWORK")
    ]


def test_verified_in_full(verified: Unit) -> None:
    """By name and by address."""
    for host in ("localhost", "127.0.0.1"):
        verified.change(source={"host": host})
        with connect(verified.settings.postgres) as connection:
            assert connection.execute(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).fetchone() == (True,)
        assert told(verified) == []


def test_each_fault_has_a_name(server: SecurePostgres, verified: Unit) -> None:
    """A fault is named by class and text at run time, by code and sentence in `check`.

    The password is in neither.
    """

    def fault(kind: type[AgentError], text: str) -> str:
        with pytest.raises(kind, match=text) as caught:
            connect(verified.settings.postgres)
        (sentence,) = told(verified)
        assert "wrong" not in str(caught.value) + sentence
        return sentence

    files = server.certificates
    server.show(files.expired_file)
    assert fault(
        SourceUnreachable, "TLS: certificate verify failed: certificate has expired"
    ).startswith("SOURCE_TLS: localhost:")
    assert "outside its time: certificate has expired" in told(verified)[0]
    server.show(files.misnamed_file)
    assert "the certificate is for another host name than localhost" in fault(
        SourceUnreachable, "TLS: certificate verify failed: Hostname mismatch"
    )
    server.show(files.server_file)
    verified.change(source={"sslrootcert": str(files.other_ca_file)})
    assert "not signed by the authority in source.sslrootcert" in fault(
        SourceUnreachable, "TLS: certificate verify failed: .*(issuer|self.signed)"
    )
    verified.change(source={"sslrootcert": str(files.ca_file)})
    (verified.folder / "password").write_text("wrong")
    assert fault(LoginRefused, f"refused the login of {USER}: .*authentication failed").startswith(
        "SOURCE_LOGIN: "
    )
