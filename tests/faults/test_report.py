"""Tests that no schedule passes silently, and that whatever is not green can be replayed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import __main__ as faults
from tests.faults import catches
from tests.faults.batch import Batch
from tests.faults.bugs import BUGS
from tests.faults.outcome import Outcome, keep
from tests.faults.planting import Bug, Tier
from tests.faults.schedule import Fault, Kept, Schedule, kept
from tests.faults.trial import Servers
from tests.faults.worlds import lanes
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials of these tests need none, and run no kept schedules unless one says so."""

    @contextmanager
    def servers() -> Iterator[Servers]:
        yield Servers(PostgresAddress("host=nowhere"), KafkaAddress("nowhere:1"))

    monkeypatch.setattr(faults, "servers", servers)
    monkeypatch.setattr(faults, "KEPT", ())
    monkeypatch.setattr(lanes, "all_of", lambda *_, **__: [])
    monkeypatch.setattr(lanes, "caught", lambda: True)


def results(
    monkeypatch: pytest.MonkeyPatch,
    *,
    product: str = "",
    unfired: tuple[str, ...] = (),
    missed: str = "",
) -> list[tuple[int, str]]:
    """Ends every trial so, and returns seed and bug of each trial, as they come.

    `missed` names the one planted bug that is not caught.
    """
    tried: list[tuple[int, str]] = []

    def trial(
        servers: Servers, schedule: Schedule, evidence: Path, bug: Bug | None = None
    ) -> Outcome:
        tried.append((schedule.seed, bug.name if bug else ""))
        if bug:
            return Outcome(schedule, oracle="" if bug.name == missed else "O4")
        return Outcome(
            schedule,
            oracle=product if schedule.seed == 3 else "",
            what="the log",
            unfired=unfired if schedule.seed == 3 else (),
        )

    def batch(tier: Tier, seed: int, folder: Path, bug: Bug | None = None) -> Batch:
        tried.append((seed, bug.name if bug else ""))
        found = bug is not None and bug.name != missed
        return Batch(tier, seed, "O4" if found else "")

    monkeypatch.setattr(faults, "trial", trial)
    monkeypatch.setattr(faults, "batch", batch)
    return tried


def test_forty_green_schedules_and_every_bug_caught_on_its_recorded_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = results(monkeypatch)
    assert faults.main([]) == 0
    assert {seed for seed, bug in tried if not bug} == set(range(1, 41))
    assert {bug: seed for seed, bug in tried if bug} == {
        name: catch.seed for name, catch in catches.load().items()
    }
    told = capsys.readouterr().out
    assert "40/40 schedules of the product green" in told
    assert f"{len(BUGS)}/{len(BUGS)} planted bugs caught" in told


@pytest.mark.parametrize(
    ("product", "unfired", "told"),
    [("O1", (), "FOUND by O1"), ("", ("mid_rows",), "NOT ALL FIRED: mid_rows")],
)
def test_one_schedule_that_is_not_green_fails_the_run(
    product: str,
    unfired: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results(monkeypatch, product=product, unfired=unfired)
    assert faults.main(["--schedules", "4", "--bugs", "none"]) == 1
    out = capsys.readouterr().out
    assert told in out
    assert "3/4 schedules of the product green" in out
    assert "python -m tests.faults --seed 3\n" in out


def test_a_missed_bug_fails_the_run_after_all_attempts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = results(monkeypatch, missed="toast_as_null")
    assert faults.main(["--schedules", "1"]) == 1
    assert [bug for _, bug in tried].count("toast_as_null") == faults.ATTEMPTS
    assert "NOT FOUND" in capsys.readouterr().out


def test_a_search_takes_fifty_seeds_at_the_most_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(catches, "FILE", tmp_path / "catches.json")
    page = tmp_path / "page.md"
    page.write_text("before\n\n| planted bug |\n| old |\n\nafter\n", encoding="utf-8")
    monkeypatch.setattr(catches, "PAGE", page)
    tried = results(monkeypatch, missed="seq_apart")
    assert faults.main(["--schedules", "0", "--bugs", "search"]) == 1
    assert [seed for seed, bug in tried if bug == "seq_apart"] == list(range(1, 51))
    found = catches.load()
    assert found.keys() == {bug.name for bug in BUGS} - {"seq_apart"}
    assert set(found.values()) == {catches.Catch(1, "O4", 1)}
    assert page.read_text(encoding="utf-8") == f"before\n\n{catches.table(found)}\n\nafter\n"


def test_the_search_for_one_bug_leaves_the_others_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = catches.load()
    monkeypatch.setattr(catches, "FILE", tmp_path / "catches.json")
    monkeypatch.setattr(catches, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("| planted bug |\n", encoding="utf-8")
    catches.FILE.write_text(
        json.dumps({name: catch._asdict() for name, catch in before.items()}), encoding="utf-8"
    )
    tried = results(monkeypatch)
    assert faults.main(["--bugs", "search", "--bug", "toast_as_null"]) == 0
    assert tried == [(1, "toast_as_null")]
    assert catches.load() == before | {"toast_as_null": catches.Catch(1, "O4", 1)}


def test_a_kept_schedule_is_run_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = Schedule(3, "sqlite", 2, 20, (Fault("mid_rows", 7, "kill"),))
    (tmp_path / "row_lost.json").write_text(schedule.dumps("O1: a row was lost"), encoding="utf-8")
    monkeypatch.setattr(faults, "KEPT", kept(tmp_path))
    assert kept(tmp_path) == (Kept("row_lost", "O1: a row was lost", schedule),)
    assert (faults.origin(Schedule.of(3))[0], faults.origin(Schedule.mixed(3))[0]) == (
        "seed-3",
        "mixed-3",
    )
    tried = results(monkeypatch, product="O1")
    faults.main(["--schedules", "3", "--bugs", "none"])
    assert [seed for seed, _ in tried].count(3) == 3  # kept, drawn, and drawn over a binary log
    assert (
        "replay: python -m tests.faults --schedule tests/faults/schedules/row_lost.json\n"
        in capsys.readouterr().out
    )


def test_evidence_is_kept_only_of_what_is_not_green(tmp_path: Path) -> None:
    for name, outcome in (
        ("green", Outcome(Schedule.of(1))),
        ("red", Outcome(Schedule.of(1), oracle="O4", what="seq 7 came before")),
    ):
        (tmp_path / name).mkdir()
        keep(outcome, tmp_path / name)
    assert not (tmp_path / "green").exists()
    assert "seq 7 came before" in (tmp_path / "red" / "finding.txt").read_text(encoding="utf-8")
    assert Schedule.loads(
        (tmp_path / "red" / "schedule.json").read_text(encoding="utf-8")
    ) == Schedule.of(1)


def test_a_source_has_its_own_schedules_and_planted_bugs_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = results(monkeypatch)
    assert faults.main(["--source", "mariadb", "--schedules", "2"]) == 0
    assert [seed for seed, bug in tried if not bug] == [1, 2]
    of_a_log = {bug.name for bug in BUGS if bug.tier == "log"}
    assert {bug for _, bug in tried if bug} == of_a_log
    assert f"{len(of_a_log)}/{len(of_a_log)} planted bugs caught" in capsys.readouterr().out
    assert faults.origin(Schedule.of(3, "mariadb")) == (
        "mariadb-seed-3",
        "--source mariadb --seed 3",
    )
    assert faults.origin(Schedule.mixed(3, "mysql9")) == (
        "mysql9-mixed-3",
        "--source mysql9 --mixed 1 --first 3",
    )
