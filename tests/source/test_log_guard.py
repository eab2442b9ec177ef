"""Tests the guard of the log that the server keeps for the slot."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import failpoints
from agent.config import Settings
from agent.connectors.position import position_text
from agent.connectors.postgres import log_guard
from agent.connectors.postgres.setup import status
from agent.connectors.postgres.setup.subscription import subscription_of
from agent.connectors.postgres.source import PostgresSource
from agent.connectors.resume import Resume
from agent.errors import SlotGivenUp, SlotMissing, SourceUnreachable
from agent.service.metrics import LOG_RETAINED, LOG_STATUS
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.source.conftest import PostgresBusiness, with_tables
from tests.source.reading import read_commits, silent_never
from tests.waiting import eventually

MOST = 8 << 20
GIVEN_UP = f"{LOG_STATUS}/given_up"


@pytest.fixture(params=[14, 18])
def business(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresBusiness]:
    """Yields published tables in the oldest and the newest PostgreSQL."""
    server = request.getfixturevalue(f"postgres{request.param}")
    assert isinstance(server, PostgresAddress)
    with fresh_database(server) as conninfo:
        made = with_tables(PostgresBusiness(conninfo, tmp_path))
        yield made
        made.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks whenever it is asked to, and takes every outage for a long one."""
    monkeypatch.setattr(log_guard, "_ALONE_SECONDS", 0.0)
    monkeypatch.setattr(log_guard, "_PATIENCE", 0.0)


def guarded_by(business: PostgresBusiness, folder: Path, most: int | None = MOST) -> Settings:
    settings = business.settings(max_log_bytes=most)
    return settings.model_copy(update={"state_directory": str(folder)})


def followed(business: PostgresBusiness, settings: Settings) -> tuple[PostgresSource, Resume]:
    """Follows the slot for a while, until its front end goes away."""
    source = business.source(settings)
    initial = business.initial()
    source.open(initial, silent_never)
    business.commit("I1")
    (got,) = read_commits(source, 1)
    source.acknowledge(got.position)
    eventually(lambda: business.acknowledged() >= got.position, what="it is acknowledged")
    source.close()
    return source, initial._replace(position=position_text(got.position))


def grow(business: PostgresBusiness) -> None:
    """Writes more log than is allowed."""
    for _ in range(12):
        business.value("SELECT pg_logical_emit_message(false, 'else', repeat('x', 1048576))::text")


def slots(business: PostgresBusiness) -> int:
    return int(
        business.value(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", business.slot
        )
    )


def test_given_up_while_the_front_end_is_away(
    business: PostgresBusiness,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before more is kept than allowed for long; then each opening tells it, until `init`."""
    settings = guarded_by(business, tmp_path)
    source, resume = followed(business, settings)
    source.unattended()
    grow(business)
    with monkeypatch.context() as patched:
        patched.setattr(log_guard, "_PATIENCE", 300.0)
        source.unattended()
    assert slots(business) == 1
    assert source.gauges()[LOG_RETAINED] > MOST

    source.unattended()
    assert slots(business) == 0
    assert f"slot_given_up slot={business.slot} " in caplog.text
    assert source.gauges()[GIVEN_UP] == 1
    told = status.status(subscription_of(settings), 0)
    assert told.trouble is not None
    assert told.trouble[0] == "SLOT_GIVEN_UP"
    later = business.source(settings)
    for opened in (source, later):
        with pytest.raises(SlotGivenUp) as caught:
            opened.open(resume, silent_never)
        opened.unattended()
        assert caught.value.plain_values()["bound"] == MOST
        assert opened.gauges()[GIVEN_UP] == 1

    made = resume._replace(position=business.create_slot())
    later.open(made, silent_never)
    later.close()
    business.drop_slot()
    with pytest.raises(SlotMissing):
        later.open(made, silent_never)


def test_kept_without_a_bound(
    business: PostgresBusiness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is seen all the same while the front end is away, and warned of."""
    settings = guarded_by(business, tmp_path, None)
    parts = settings.postgres.model_copy(update={"warn_log_bytes": MOST})
    source, _ = followed(business, settings.model_copy(update={"source": parts}))
    grow(business)
    source.unattended()
    assert source.gauges()[LOG_RETAINED] > MOST
    assert "source_log_large " in caplog.text
    assert slots(business) == 1


def test_a_stream_that_is_read_works_it_off(business: PostgresBusiness, tmp_path: Path) -> None:
    source, resume = followed(business, guarded_by(business, tmp_path))
    grow(business)
    source.open(resume, silent_never)
    assert not source.outdated()
    source._beat_at = 0.0
    eventually(lambda: source.housekeeping() is not None, what="the server is asked")
    assert source.gauges()[LOG_RETAINED] > MOST
    assert slots(business) == 1


def test_the_slot_of_another_is_never_dropped(
    business: PostgresBusiness,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While somebody reads it, it is tried again; one that was made since stays."""
    settings = guarded_by(business, tmp_path)
    source, resume = followed(business, settings)
    grow(business)
    other = business.source(business.settings())
    other.open(resume, silent_never)
    source.unattended()
    assert slots(business) == 1
    assert f"slot_kept slot={business.slot} " in caplog.text
    concern = status.status(subscription_of(settings), 0).concern
    assert concern is not None
    assert concern[0] == "SLOT_KEPT"
    other.close()
    source.unattended()
    assert slots(business) == 0

    business.create_slot()
    grow(business)
    source.unattended()
    caplog.clear()
    caplog.set_level(logging.WARNING)
    source.unattended()
    assert slots(business) == 1
    assert "slot_kept " in caplog.text

    def away(*_arguments: object, **_options: object) -> None:
        raise SourceUnreachable(address="there", reason="it is down")

    monkeypatch.setattr(log_guard, "connect", away)
    source.unattended()
    assert "it is down" in caplog.text


@pytest.mark.parametrize("place", ["before_giving_up", "after_giving_up"])
def test_killed_between_the_note_and_the_drop(
    business: PostgresBusiness, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either the slot is there and is followed, or the note says where it is."""
    settings = guarded_by(business, tmp_path)
    source, resume = followed(business, settings)
    grow(business)

    class Killed(BaseException):
        pass

    def hit(reached: str) -> None:
        if reached == place:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "hit", hit)
        with pytest.raises(Killed):
            source.unattended()

    later = business.source(guarded_by(business, tmp_path, None))
    if place == "after_giving_up":
        with pytest.raises(SlotGivenUp):
            later.open(resume, silent_never)
        return
    later.open(resume, silent_never)
    later.close()
    business.drop_slot()
    with pytest.raises(SlotMissing):
        later.open(resume, silent_never)


def test_killed_before_the_drop_while_the_front_end_stays_away(
    business: PostgresBusiness, tmp_path: Path
) -> None:
    """The next process has never opened the slot: what the last one noted is enough."""
    settings = guarded_by(business, tmp_path)
    followed(business, settings)
    grow(business)
    later = business.source(settings)
    later.unattended()
    assert slots(business) == 0
