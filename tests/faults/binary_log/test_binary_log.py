"""Tests what schedules over a binary log are made of: data, deeds, writers, and their order."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.failpoints import _parse
from tests.checker.journal import read_journal
from tests.checker.unit import LEDGER
from tests.faults.binary_log.nemesis import LoggedNemesis
from tests.faults.binary_log.order import last_number, number_of, watched
from tests.faults.binary_log.server import fresh_unit, start
from tests.faults.binary_log.unit import JOURNALED, TABLES, create_tables, run, session
from tests.faults.binary_log.workload import KINDS, LoggedPlanner, LoggedWorkload
from tests.faults.schedule import (
    CLIENTS,
    MIXED_FRONTS,
    PAGES,
    PLACES_OF,
    Schedule,
    deeds_of,
)
from tests.waiting import eventually

SEEDS = range(1, 61)
NAME = "fault_unit"


@pytest.fixture(scope="module")
def unit() -> Iterator[str]:
    """Yields the database of a unit on a MariaDB of its own."""
    with start("mariadb") as server, fresh_unit(server, "mariadb", NAME) as url:
        create_tables(url, JOURNALED)
        yield url


def test_the_same_seed_gives_the_same_schedule_and_a_file_gives_it_again() -> None:
    for make in (Schedule.of, Schedule.mixed):
        made = [make(seed, "mariadb") for seed in SEEDS]
        assert made == [make(seed, "mariadb") for seed in SEEDS]
        assert made == [Schedule.loads(one.dumps("nothing")) for one in made]


def test_as_many_seeds_as_there_are_places_kill_at_each() -> None:
    places = PLACES_OF["mariadb"]
    killed = [Schedule.of(seed, "mariadb").faults[0] for seed in range(5, 5 + len(places))]
    assert {fault.place for fault in killed if fault.action == "kill"} == set(places)


def test_tables_hold_rows_where_a_page_is_to_fail_and_the_agent_understands_the_setting() -> None:
    for seed in SEEDS:
        schedule = Schedule.of(seed, "mariadb")
        places = {fault.place for fault in schedule.faults}
        assert schedule.rows or not places & set(PAGES)
        assert set(_parse(schedule.setting, frozenset())) == places


@pytest.mark.parametrize("front", MIXED_FRONTS)
def test_enough_mixed_schedules_meet_every_deed(front: str) -> None:
    schedules = [Schedule.mixed(seed, "mariadb") for seed in range(1, 151)]
    mine = [schedule for schedule in schedules if schedule.front == front]
    assert {schedule.client for schedule in mine} == set(CLIENTS)
    met = {one.deed for schedule in mine for one in schedule.disturbances}
    assert met == set(deeds_of(mine[0].front, "mariadb"))
    for deed in met:
        assert callable(getattr(LoggedNemesis, deed.partition(":")[0])), deed


def test_a_seed_means_the_same_in_every_run_and_draws_every_kind() -> None:
    one, again = LoggedPlanner(1, 0, TABLES, KINDS), LoggedPlanner(1, 0, TABLES, KINDS)
    plans = [one.plan() for _ in range(1500)]
    assert [plan.digest for plan in plans[:50]] == [again.plan().digest for _ in range(50)]
    assert {plan.kind for plan in plans} == KINDS


def test_writers_outlive_their_sessions_and_the_server_tells_their_order(
    unit: str, tmp_path: Path
) -> None:
    """The journal is true to the ledger, and so is what the server tells of its log."""
    path = tmp_path / "journal"
    mine = f"SELECT id FROM information_schema.processlist WHERE db = '{NAME}'"
    with watched(unit, NAME) as order:
        for _ in range(2):
            with LoggedWorkload(
                unit, 5, path, 3, TABLES, KINDS, big=10, open_seconds=0.05
            ) as workload:
                for turn in range(1, 4):
                    eventually(
                        lambda turn=turn: workload.transactions > turn * 20,  # type: ignore[misc]
                        what="it goes on",
                    )
                    with closing(session(unit)) as administrator:
                        for (number,) in run(administrator, f"{mine} AND id <> connection_id()"):
                            run(administrator, f"KILL {number}")
        committed = order.read()

    with closing(session(unit)) as connection:
        found = run(connection, f'SELECT "txn_no" FROM "{LEDGER.name}"')
    signed = {int(txn) for (txn,) in found}
    entries = read_journal(path)
    assert {txn for txn, intent in entries.items() if intent.outcome == "ok"} <= signed
    assert not signed & {txn for txn, intent in entries.items() if intent.outcome == "failed"}
    assert {txn for _, txn in committed} == signed
    numbers = [number for number, _ in committed]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= last_number(unit)


def test_a_token_names_the_last_transaction() -> None:
    assert number_of('{"gtid":"0-7-12","file":"bin.000003","offset":4}') == 12
    uuid = "0a0b0c0d-0000-11ee-8000-0242ac120002"
    assert number_of(f'{{"gtid":"{uuid}:1-345","file":"bin.000003"}}') == 345
    assert number_of("") == 0
