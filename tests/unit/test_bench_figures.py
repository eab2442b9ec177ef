"""What `make bench` keeps of a run, and what it says of the next one."""

from pathlib import Path

import pytest

from bench import figures, page
from bench.figures import Figure


@pytest.mark.parametrize(
    ("was", "value", "less_is_better", "said"),
    [
        (2.0, 2.2, True, ""),
        (2.0, 3.0, True, "WORSE"),
        (2.0, 1.0, True, "better"),
        (2.0, 1.0, False, "WORSE"),
        (2.0, 3.0, False, "better"),
        (None, 1.0, True, "new"),
    ],
)
def test_what_moved(was: float | None, value: float, less_is_better: bool, said: str) -> None:
    """A ratio that moved by more than noise is named, and whether that is good."""
    before = {} if was is None else {"speed": was}
    *_, line = figures.comparison(before, [Figure("speed", value, less_is_better)])
    assert line.split("|")[4].strip() == said


def test_quick_and_full_runs_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of run is compared with its own kind."""
    monkeypatch.setattr(figures, "STORED", tmp_path / "stored.json")
    assert figures.stored("quick") == {}
    figures.store("quick", [Figure("speed", 1.234, True)])
    figures.store("full", [Figure("speed", 5.0, True)])
    assert figures.stored("quick") == {"speed": 1.23}
    assert figures.stored("full") == {"speed": 5.0}


def test_the_page_has_a_place_for_every_table(tmp_path: Path) -> None:
    """What stood there before is replaced, and all else stays."""
    copy = tmp_path / "page.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    names = ("machine", "latency", "stream", "copy", "idle")
    page.write({name: [f"{name} of this run"] for name in names}, copy)
    page.write({name: [f"{name} of the next run"] for name in names}, copy)
    text = copy.read_text(encoding="utf-8")
    for name in names:
        assert text.count(f"{name} of the next run") == 1
        assert f"{name} of this run" not in text
    assert text.startswith("# Benchmarks")
    with pytest.raises(ValueError, match="no place for nothing"):
        page.write({"nothing": []}, copy)
