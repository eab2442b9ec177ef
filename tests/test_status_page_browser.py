"""A real browser shows the status page: nothing is asked elsewhere, all can be read and named.

With SYNC_TEST_SCREENSHOTS it leaves pictures of every page in that folder.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.cli import bundled
from agent.page.site import Site
from agent.service.health import HealthServer
from agent.service.history import day_of
from agent.service.metrics import Metrics
from tests.services.chromium import Chromium
from tests.unit.pages import bad_day, good_day, long_past, tables_of
from tests.waiting import eventually

AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")
SIZES = {"phone": (390, 844), "laptop": (1280, 800), "wall": (1920, 1080)}
DARK = {"name": "prefers-color-scheme", "value": "dark"}
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
FEW = ["enterprise", "permit", "person"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as started:
        yield started


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("day", [good_day, bad_day])
@pytest.mark.parametrize("tables", [FEW, tables_of(150)], ids=["3", "150"])
def test_page_in_a_browser(
    chromium: Chromium, tables: Sequence[str], day: Callable[[Sequence[str]], Metrics], size: str
) -> None:
    metrics = day(tables)
    site = Site("tax", metrics, bundled.runbook)
    with HealthServer("127.0.0.1:0", "tax", metrics, site.answer) as server:
        host = f"http://127.0.0.1:{server.port}"
        yesterday = max(metrics.history.days().keys() - {day_of(time.time())})
        for path in ("/zh", "/en", "/en/runbook/TOPIC_LOST", f"/zh/statistics/{yesterday}"):
            for scheme in ("light", "dark"):
                asked = chromium.load(host + path, *SIZES[size], scheme)
                assert [address for address in asked if not address.startswith(host + "/")] in (
                    [],
                    ["data:,"],
                )
                assert chromium.run(AUDIT) == []
                keep(chromium, f"{day.__name__}-{len(tables)}-{size}-{scheme}-{path[1:3]}", path)
        chromium.load(f"{host}/en", *SIZES[size])
        printed_dark = {"media": "print", "features": [DARK]}
        chromium.ask("Emulation.setEmulatedMedia", **printed_dark)
        assert chromium.run(AUDIT) == []
        chromium.ask("Emulation.setEmulatedMedia", media="")
        for details in ("true", "false"):
            chromium.run(
                f"for (const d of document.querySelectorAll('details')) d.open = {details}"
            )
            assert chromium.run(AUDIT) == []


def test_150_tables_and_92_days_are_painted_at_once(chromium: Chromium, tmp_path: Path) -> None:
    """Within 300 ms, unless something else keeps the machine busy: then it is tried again."""
    metrics = good_day(tables_of(150))
    metrics.history = long_past(tmp_path, tables_of(150), time.time())
    site = Site("tax", metrics, bundled.runbook)
    with HealthServer("127.0.0.1:0", "tax", metrics, site.answer) as server:

        def painted() -> bool:
            chromium.load(f"http://127.0.0.1:{server.port}/zh", *SIZES["laptop"])
            found = eventually(lambda: chromium.run(FIRST_PAINT), what="a first paint")
            return bool(found < 300)

        eventually(painted, what="the first paint within 300 ms")


def keep(chromium: Chromium, name: str, path: str) -> None:
    """Leaves a picture of the page where somebody wants to see it."""
    folder = os.environ.get("SYNC_TEST_SCREENSHOTS")
    if folder and path.count("/") == 1:
        (Path(folder) / f"{name}.png").write_bytes(chromium.screenshot())
