"""Follows the handbook word by word on a clean Debian without network, with a real systemd.

What stands in its blocks is pasted as it is printed; nothing else is done, and nothing is left out.
In place of `setup`, which asks, stands the block of the section for scripts.
"""

import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.services.debian import DebianHost, may_boot
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.waiting import eventually
from tools import archive

HANDBOOK = Path(__file__).parent.parent / "docs/OPERATIONS.md"
_HEADING = re.compile(r"^#+ (.+)$")
AS_AGENT = ("sudo", "-u", "unit-sync-agent")
# Everybody else who comes over the network needs a password
UNINSTALL = (
    "/opt/unit-sync-agent/current/install.sh uninstall --purge"
    " --as postgresql://postgres@127.0.0.1/business"
)
LOGINS = """local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

pytestmark = pytest.mark.skipif(not may_boot(), reason="only root can boot a host")


def blocks_under(heading: str) -> list[str]:
    """Returns the shell blocks of a section of the handbook, without those of sections below it."""
    found: list[str] = []
    here = inside = False
    for line in HANDBOOK.read_text(encoding="utf-8").splitlines():
        title = None if inside else _HEADING.match(line)
        if title is not None:
            here = title[1] == heading
        elif here and line.startswith("```"):
            inside = not inside
            if inside:
                found.append("")
        elif here and inside:
            found[-1] += line + "\n"
    assert found, f"the handbook has no blocks under {heading!r}"
    return found


@pytest.fixture
def business() -> Iterator[PostgresServer]:
    """A business database as a unit has it, with the table of the handbook."""
    with PostgresServer.start(15) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE business")
        with psycopg.connect(server.dsn("business"), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE person (id int PRIMARY KEY, name text, district text, photo bytea)"
            )
            connection.execute(
                "INSERT INTO person SELECT n, 'name ' || n, 'd', '' FROM generate_series(1, 1000) n"
            )
        (server.data_directory / "pg_hba.conf").write_text(LOGINS, encoding="utf-8")
        server.reload({"max_slot_wal_keep_size": "1GB"})
        yield server


@pytest.fixture
def host(tmp_path: Path, business: PostgresServer, kafka: KafkaAddress) -> Iterator[DebianHost]:
    """A clean host with the archive in root's home; both servers are where the handbook says."""
    packed = archive.build(tmp_path, platform.machine())
    with DebianHost.booted(tmp_path) as made:
        made.reaches(5432, business.port)
        broker = int(kafka.bootstrap.rpartition(":")[2])
        made.reaches(9092, broker)
        made.reaches(broker, broker)  # the address that the broker itself names to its clients
        made.paste(f"cp /mnt/{packed.name} .")
        yield made


def status(host: DebianHost) -> dict[str, object]:
    """Returns what `sync-agent status` says to machines."""
    told = host.run(*AS_AGENT, "sync-agent", "status", "--json", check=False)
    try:
        found: dict[str, object] = json.loads(told)
    except ValueError:
        raise AssertionError(told) from None
    return found


def flows(host: DebianHost) -> bool:
    """Tells whether `status` is content."""
    return status(host)["exit_code"] == 0


def unit_property(host: DebianHost, name: str) -> str:
    """Returns what systemd says of the service."""
    return host.run("systemctl", "show", "-P", name, "sync-agent@agent").strip()


def files_of(host: DebianHost) -> set[str]:
    """Returns every file and folder where programs, settings and data are kept.

    Root's home is left out: what was unpacked and written there is the reader's own.
    """
    return set(host.run("find", "/etc", "/home", "/opt", "/usr", "/var/lib").splitlines())


@pytest.mark.slow
def test_from_the_archive_to_a_proven_table_and_away_again(
    host: DebianHost, business: PostgresServer
) -> None:
    assert "Network is unreachable" in host.run(
        "bash", "-c", "echo > /dev/tcp/192.0.2.1/80 || true"
    )
    before = files_of(host)
    (install, *_) = blocks_under("From the archive, without network")
    told = host.paste(install)
    assert "Installed: sync-agent" in told
    assert "warning" not in told.lower()
    exposure = host.run("systemd-analyze", "security", "sync-agent@agent").splitlines()[-1]
    assert float(re.findall(r"\d+\.\d+", exposure)[0]) <= 1.5

    _asks, *prepare, prove = blocks_under("First table")
    for block in [*blocks_under("Set up by a script"), *prepare]:
        host.paste(block)
    eventually(lambda: flows(host), 60, "the table is live")
    assert "1,000" in host.paste(prove)

    compared_every_night(host)
    killed_and_reloaded(host)
    host.paste(f"echo yes | {UNINSTALL}")
    with psycopg.connect(business.dsn("business"), autocommit=True) as connection:
        slots = connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone()
        publications = connection.execute("SELECT count(*) FROM pg_publication").fetchone()
        role = connection.execute("SELECT to_regrole('sync_agent')").fetchone()
    assert (slots, publications, role) == ((0,), (0,), (None,))
    assert files_of(host) - before == set()


def compared_every_night(host: DebianHost) -> None:
    """The timer's service succeeds while both sides are equal, and fails where they are not."""
    nightly = "sync-agent-verify@agent.service"
    assert "sync-agent-verify@agent.timer" in host.run("systemctl", "list-timers")
    host.run("systemctl", "start", nightly)
    delete = "import sqlite3, sys; front = sqlite3.connect(sys.argv[1], timeout=60); "
    delete += "front.execute('DELETE FROM person WHERE id = 7'); front.commit()"
    host.run(*AS_AGENT, "python3", "-c", delete, "/var/lib/unit-sync-agent/agent/front.db")
    host.run("systemctl", "start", nightly, check=False)
    assert host.run("systemctl", "is-failed", nightly, check=False) == "failed\n"
    host.run(*AS_AGENT, "sync-agent", "reconcile", "person")
    host.run("systemctl", "start", nightly)


def killed_and_reloaded(host: DebianHost) -> None:
    """systemd starts the killed service again, has it reload, and stops it in peace."""
    killed = unit_property(host, "MainPID")
    host.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "sync-agent@agent")
    eventually(
        lambda: unit_property(host, "MainPID") not in (killed, "0"), 60, "it is started again"
    )
    eventually(lambda: flows(host), 60, "it flows again")
    host.run("systemctl", "reload", "sync-agent@agent")
    assert "reload_begins" in host.run("journalctl", "--unit", "sync-agent@agent")
    host.run("systemctl", "stop", "sync-agent@agent")
    assert unit_property(host, "Result") == "success"
    host.run("systemctl", "start", "sync-agent@agent")
