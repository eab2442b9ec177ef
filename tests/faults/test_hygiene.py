"""Tests that O10 finds what a careless service shows and leaves, and nothing with a careful one."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType

import psycopg
import pytest

from tests.agent_process import Agent, Installation
from tests.checker.inputs import CANARY
from tests.checker.verdict import Verdict
from tests.faults import hygiene
from tests.faults.hygiene import Hygiene
from tests.services.processes import HOST

SECRET = "a-secret"
PROGRAM = (
    "import sys; held = [open('/dev/null') for _ in range(int(sys.argv[1]))]; "
    "print('up', flush=True); sys.stdin.read()"
)


class Stand(Agent):
    """A process in the place of the service."""

    def __init__(self, place: Installation, files: int, **environment: str) -> None:
        self._log = place.log
        command = [sys.executable, "-c", PROGRAM, str(files)]
        self._process = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            assert said.readline() == b"up\n"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, at)
        assert self._process.stdin is not None
        self._process.stdin.close()


@pytest.fixture
def place(database: str, tmp_path: Path) -> Installation:
    """Returns where the service would be."""
    place = Installation(tmp_path, database, "nowhere:1", "careless")
    place.front_file.parent.mkdir(parents=True)
    place.log.write_text("starts\n")
    return place


@contextmanager
def telling(port: int, text: str) -> Iterator[None]:
    """Metrics that say so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_request(self, code: object = "", size: object = "") -> None:
            """Says nothing."""

    with HTTPServer((HOST, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_careful_service_is_found_clean(place: Installation) -> None:
    place.front_file.touch()
    place.front_file.with_name("front.db-wal").touch()
    with Stand(place, 5) as service, telling(place.listen, "agent_connected 1"):
        watch = Hygiene(place, service, [SECRET])
        watch.sample()
    watch.inspect()
    watch.report(verdict := Verdict())
    assert (watch.samples, watch.violations) == (1, [])
    assert verdict.equal


def test_what_it_shows_while_it_runs(place: Installation) -> None:
    """Metrics, environment, and how much it holds."""
    with (
        Stand(place, 60, TOKEN=f"{SECRET}!") as service,
        telling(place.listen, f'rows{{key="{CANARY}"}} 1'),
    ):
        watch = Hygiene(place, service, [SECRET])
        watch.sample()
    assert [found.split(" has 6")[0] for found in watch.violations] == [
        "supervisor",
        "environ of supervisor holds a row's value or a secret",
        "/metrics holds a row's value or a secret",
    ]


def log_of(place: Installation) -> None:
    place.log.write_bytes(
        place.log.read_bytes() + f"refused \\x{os.fsencode(CANARY).hex()}\n".encode()
    )


def file_of(place: Installation) -> None:
    (place.front_file.parent / "spill.tmp").touch()


def slot_of(place: Installation) -> None:
    with psycopg.connect(place.source, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")


@pytest.mark.parametrize(
    ("careless", "found"),
    [
        (log_of, "its log holds a row's value or a secret"),
        (file_of, "left the file spill.tmp in its state directory"),
        (slot_of, "left slots of others, or its own in use"),
    ],
)
def test_what_it_leaves_behind(
    careless: Callable[[Installation], None],
    found: str,
    place: Installation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hygiene, "GONE", 0.2)
    careless(place)
    with Stand(place, 5) as service:
        watch = Hygiene(place, service, [SECRET])
    watch.inspect()
    assert watch.violations == [found]


def test_a_session_it_leaves_behind(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygiene, "GONE", 0.2)
    with (
        psycopg.connect(place.source, application_name="unit-sync-agent"),
        Stand(place, 5) as service,
    ):
        watch = Hygiene(place, service, [SECRET])
        watch.inspect()
    assert watch.violations == ["left sessions at the source"]
