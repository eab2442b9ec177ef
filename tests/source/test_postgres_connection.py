"""Tests the connection to PostgreSQL.

It is kept alive while nobody reads, given up when it must be, and refused with the right name.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.connectors.changes import Commit, Message
from agent.connectors.position import position_number
from agent.connectors.postgres import acknowledgement, server_state
from agent.connectors.postgres.acknowledgement import Acknowledgement
from agent.connectors.postgres.session import connect
from agent.connectors.postgres.wire import Wire
from agent.errors import (
    AgentError,
    DuplicateAgent,
    LoginRefused,
    SlotBusy,
    SlotMissing,
    SourceUnreachable,
)
from tests.services.postgres import PostgresServer
from tests.services.processes import HOST, free_port
from tests.services.proxy import TcpProxy
from tests.source.conftest import PostgresBusiness
from tests.source.reading import read_commits, read_until, silent_never
from tests.waiting import PATIENCE, Hopeless, eventually, never

SENDER = 4.0  # seconds of wal_sender_timeout, a third of which a busy machine may sleep away
# Where only what the agent does is looked at, one version shows it
ONE_VERSION = pytest.mark.parametrize("any_postgres", [18], indirect=True, ids=["postgres18"])
MANY = "INSERT INTO orders SELECT n, repeat('x', 1000) FROM generate_series({}, {}) n"


def active(business: PostgresBusiness) -> bool:
    """Tells whether the slot is being read."""
    return bool(
        business.value(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", business.slot
        )
    )


def limit_sender(business: PostgresBusiness, seconds: float) -> None:
    """wal_sender_timeout for this database."""
    business.transaction(
        f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET wal_sender_timeout = "
        f"{int(seconds * 1000)}', current_database()); END $$"
    )


def wait_for_updates(business: PostgresBusiness, count: int) -> None:
    """Waits until the server has had so many further status updates.

    They are those of the connection that reads the slot now.
    """
    pid = business.value(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", business.slot
    )
    times = set()

    def come() -> bool:
        time = business.value("SELECT reply_time FROM pg_stat_replication WHERE pid = %s", pid)
        if time is None and not active(business):
            raise Hopeless("the server has dropped the connection")
        times.add(time)
        return len(times) > count

    eventually(come, what=f"{count} status updates", interval=0.1)


# ---- kept alive ----


@pytest.mark.parametrize(
    ("any_postgres", "waiting"),
    [(15, "nothing"), (18, "more than the buffers hold")],
    indirect=["any_postgres"],
)
def test_the_connection_lives_while_nothing_is_read(
    published: PostgresBusiness, waiting: str
) -> None:
    """The front end works for longer than wal_sender_timeout.

    The status updates go out all the same, and nothing is lost.
    """
    limit_sender(published, SENDER)
    source = published.source()
    source.open(published.initial(), silent_never)
    if waiting != "nothing":
        published.transaction(MANY.format(1, 20_000))
    wait_for_updates(published, 4)  # a third of the time-out apart
    published.transaction("INSERT INTO orders VALUES (0)")
    got = read_commits(source, 1 if waiting == "nothing" else 2)
    assert got[-1].rows == [("I", None, ("0", None))]


@ONE_VERSION
def test_status_updates_acknowledge_nothing_by_themselves(
    published: PostgresBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent many times over: the slot stays at what was given, amid a transaction and after it."""
    monkeypatch.setattr(server_state, "sender_timeout", lambda connection: 1.0)
    source = published.source()
    source.open(published.initial(), silent_never)
    published.transaction("INSERT INTO orders VALUES (1)")
    (first,) = read_commits(source, 1)
    source.acknowledge(first.position)
    eventually(lambda: published.acknowledged() == first.position, what="the server knows")
    published.transaction(MANY.format(10, 20_000))

    def begun() -> Iterator[Message] | None:
        reading = source.read(1)
        return reading if next(reading, None) is not None else None

    reading = eventually(begun, what="the large transaction begins")
    wait_for_updates(published, 4)
    assert published.acknowledged() == first.position
    assert reading is not None
    ended = any([isinstance(message, Commit) for message in reading])  # noqa: C419 - reads to the end
    read_until(
        source, lambda so_far: ended or any(isinstance(message, Commit) for message in so_far)
    )
    wait_for_updates(published, 4)
    assert published.acknowledged() == first.position


@ONE_VERSION
def test_a_busy_owner_is_no_silent_server(
    published: PostgresBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While unread bytes wait the link is not given up, however long nobody reads."""
    monkeypatch.setattr(acknowledgement, "ASK_AFTER", 0.4)
    monkeypatch.setattr(acknowledgement, "PEER_SILENCE", 1.2)
    published.transaction(MANY.format(1, 5_000))
    source = published.source()
    source.open(published.initial(), silent_never)
    never(lambda: not active(published), during=3, what="the connection was given up", interval=0.2)
    assert len(read_commits(source, 1)[0].changes) == 5_000


# ---- given up ----


@ONE_VERSION
def test_a_silent_front_end_ends_the_connection(published: PostgresBusiness) -> None:
    """A front end that does not answer for more than 30 s must not hold up the server.

    The reader is told why the connection has ended.
    """
    source = published.source()
    began = time.monotonic()
    source.open(published.initial(), lambda: began - acknowledgement.FRONT_SILENCE - 1)
    eventually(lambda: not active(published), 5, "the slot is free")
    with pytest.raises(SourceUnreachable, match="the front end has accepted nothing for 30 s"):
        list(source.read(0.1))
    source.open(published.initial(), time.monotonic)  # asked just now
    never(lambda: not active(published), during=1, what="given up too early", interval=0.1)


@contextmanager
def proxied(business: PostgresBusiness) -> Iterator[tuple[TcpProxy, Any]]:
    """Yields a source behind a proxy."""
    settings = business.settings()
    with TcpProxy(HOST, settings.postgres.port) as proxy:
        yield proxy, business.source(business.settings(port=proxy.port))


@ONE_VERSION
def test_a_dead_line_is_noticed(
    published: PostgresBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers no question for long is given up, although TCP still stands."""
    monkeypatch.setattr(acknowledgement, "ASK_AFTER", 0.4)
    monkeypatch.setattr(acknowledgement, "PEER_SILENCE", 3.0)
    with proxied(published) as (proxy, source):
        source.open(published.initial(), silent_never)
        # An idle line is asked, answers, and lives
        never(lambda: list(source.read(0.05)), during=4, what="something to read", interval=0)
        proxy.black_hole()
        error = raised(lambda: source.read(0.1))
        assert isinstance(error, SourceUnreachable)
        assert "the server has sent nothing" in error.text("en")
        source.close()


@pytest.mark.parametrize("end", ["terminated", "cut"])
def test_a_lost_connection_is_retried(published: PostgresBusiness, end: str) -> None:
    """Told as SourceUnreachable with the server's address; a new open goes on."""
    with proxied(published) as (proxy, source):
        source.open(published.initial(), silent_never)
        if end == "cut":
            proxy.cut()
        else:
            published.value(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
                "WHERE slot_name = %s",
                published.slot,
            )
        error = raised(lambda: source.read(0.1))
        assert isinstance(error, SourceUnreachable)
        assert f"{HOST}:{proxy.port}" in error.text("en")
        published.transaction("INSERT INTO orders VALUES (1)")
        eventually(lambda: not active(published), what="the slot is free")
        source.open(published.initial(), silent_never)
        assert len(read_commits(source, 1)) == 1
        source.close()


def raised(read: Callable[[], Iterator[object]]) -> AgentError:
    """Returns the error that reading ends with."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            list(read())
        except AgentError as error:
            return error
    raise AssertionError("reading did not end")


def test_tending_without_a_server_is_unreachable_too(published: PostgresBusiness) -> None:
    """The second connection's loss has the same name."""
    with proxied(published) as (proxy, source):
        source.open(published.initial(), silent_never)
        proxy.refuse()
        with pytest.raises(SourceUnreachable):
            source.tables()
        with pytest.raises(SourceUnreachable):
            eventually_tended(source)
        source.close()
        with pytest.raises(SourceUnreachable):
            source.tables()


def eventually_tended(source: Any) -> None:
    """Tends until it is due; an error passes."""
    deadline = time.monotonic() + PATIENCE
    while source.housekeeping() is None and time.monotonic() < deadline:
        pass


# ---- refused ----


def test_a_slot_in_use_is_busy_and_in_the_end_another_agents(
    published: PostgresBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder of the slot is named.

    Only after longer than a dead connection lives it is taken for a second agent.
    """
    holder, second = published.source(), published.source()
    holder.open(published.initial(), silent_never)
    with pytest.raises(SlotBusy) as caught:
        second.open(published.initial(), silent_never)
    assert caught.value.values["pid"] == published.value(
        "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", published.slot
    )
    limit_sender(published, 0.1)
    monkeypatch.setattr("agent.connectors.postgres.source._ZOMBIE", 0.0)

    def taken_for_another() -> bool:
        with pytest.raises((SlotBusy, DuplicateAgent)) as error:
            second.open(published.initial(), silent_never)
        return error.type is DuplicateAgent

    eventually(taken_for_another, what="it is another agent's")
    holder.close()
    eventually(lambda: not active(published), what="the slot is free")
    second.open(published.initial(), silent_never)


@pytest.mark.parametrize(("slot", "error"), [("none_such", SlotMissing), ("", SlotBusy)])
def test_a_slot_lost_between_check_and_start(
    published: PostgresBusiness, slot: str, error: type[AgentError]
) -> None:
    """START_REPLICATION's refusal has the same names as the check's."""
    holder = published.source()
    holder.open(published.initial(), silent_never)
    connection = connect(published.settings().postgres, replication=True)
    wire = Wire(connection, Acknowledgement(0, 20.0, time.monotonic()), silent_never, "here")
    with pytest.raises(error):
        wire.start(slot or published.slot, published.slot)
    wire.close()


def test_a_restart_finds_the_slot_free_at_once(published: PostgresBusiness) -> None:
    """`close` tells the server.

    A server that is still busy with it raises SlotBusy for a moment only.
    """
    for _ in range(3):
        source = published.source()
        eventually(
            lambda source=source: source.open(published.initial(), silent_never) is None,  # type: ignore[misc]
            5,
            "the slot is free",
        )
        source.close()


def test_a_wrong_port_is_unreachable(published: PostgresBusiness) -> None:
    """Nobody listens there; the address is named."""
    port = free_port()
    with pytest.raises(SourceUnreachable) as caught:
        published.source(published.settings(port=port)).open(published.initial(), silent_never)
    assert f"{HOST}:{port}" in caught.value.text("en")
    assert "refused" in caught.value.text("en")


PASSWORD, WRONG = "right-Zq81", "wrong-Zq82"


@pytest.fixture
def guarded_login(
    private_server: PostgresServer, private: PostgresBusiness, tmp_path: Path
) -> Iterator[PostgresBusiness]:
    """Yields a server that asks the role `locked` for its password."""
    rules = private_server.data_directory / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(
        f"host all locked {HOST}/32 scram-sha-256\nhost all barred {HOST}/32 reject\n{before}"
    )
    private.transaction(
        "DROP ROLE IF EXISTS locked, barred, nologin",
        f"CREATE ROLE locked LOGIN REPLICATION PASSWORD '{PASSWORD}'",
        "CREATE ROLE barred LOGIN REPLICATION",
        "CREATE ROLE nologin REPLICATION",
    )
    private_server.reload({})
    for name, content in (("right", PASSWORD), ("wrong", WRONG)):
        (tmp_path / name).write_text(f"{content}\n")
    yield private
    rules.write_text(before)
    private_server.reload({})


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("locked", "wrong", "password authentication failed"),
        ("locked", None, "no password supplied"),
        ("barred", None, "pg_hba.conf"),
        ("nologin", None, "not permitted to log in"),
        ("nobody", None, "does not exist"),
    ],
)
def test_a_refused_login_is_named_and_tells_no_secret(
    guarded_login: PostgresBusiness, tmp_path: Path, user: str, password: str | None, said: str
) -> None:
    """Told apart from a server that is away: it is tried less often."""
    reference = {"file": str(tmp_path / password)} if password else None
    settings = guarded_login.settings(user=user, password=reference)
    with pytest.raises(LoginRefused) as caught:
        guarded_login.source(settings).open(guarded_login.initial(), silent_never)
    assert said in caught.value.text("en")
    assert user in caught.value.text("en")
    for secret in (PASSWORD, WRONG):
        assert secret not in repr(caught.value) + str(caught.value.values) + caught.value.text(
            "zh_CN"
        ) + str(caught.value.__context__)


def test_the_right_password_is_let_in_and_read_anew(
    guarded_login: PostgresBusiness, tmp_path: Path
) -> None:
    """A corrected password file helps at the next attempt, without a restart."""
    source = guarded_login.source(
        guarded_login.settings(user="locked", password={"file": str(tmp_path / "wrong")})
    )
    with pytest.raises(LoginRefused):
        source.open(guarded_login.initial(), silent_never)
    (tmp_path / "wrong").write_text(PASSWORD)
    source.open(guarded_login.initial(), silent_never)
    guarded_login.transaction("INSERT INTO orders VALUES (1)")
    (got,) = read_commits(source, 1)
    assert got.position > position_number(guarded_login.initial().position)


def test_a_database_that_is_not_there_is_refused(published: PostgresBusiness) -> None:
    """With the server's own words."""
    with pytest.raises(LoginRefused, match="does not exist"):
        published.source(published.settings(database="none_such")).open(
            published.initial(), silent_never
        )
