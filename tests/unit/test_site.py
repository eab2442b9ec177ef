"""The handbook as a site: its links lead somewhere, and it needs nothing from elsewhere."""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.test_docs import ROOT, anchors
from tools import site


class Seen(HTMLParser):
    """What a page links to, loads, and names."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the addresses and the name of one element."""
        for key, value in attrs:
            if key == "id":
                self.names[value or ""] += 1
            elif key == "href" and tag == "a":
                self.links.append(value or "")
            elif key in ("src", "href"):
                self.loaded.append(value or "")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Seen]:
    pages = {}
    for path in site.write(tmp_path_factory.mktemp("site") / "site"):
        pages[path] = Seen()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def test_every_link_of_the_site_leads_somewhere(written: dict[Path, Seen]) -> None:
    followed = 0
    for page, seen in written.items():
        for link in seen.links:
            name, _, place = unquote(link).partition("#")
            if ":" in name:
                continue
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), f"{page.name} links to {link}"
            if place:
                assert place in written[target].names, f"{page.name} links to {link}"
            followed += 1
    assert followed > 1000


def test_the_site_loads_nothing_from_elsewhere(written: dict[Path, Seen]) -> None:
    for page, seen in written.items():
        assert seen.loaded
        for name in seen.loaded:
            if name != "data:,":  # no icon
                assert (page.parent / name).is_file(), f"{page.name} loads {name}"


def test_a_name_stands_once_on_a_page(written: dict[Path, Seen]) -> None:
    for page, seen in written.items():
        assert not [name for name, times in seen.names.items() if times > 1], page.name


def test_the_runbooks_of_alerts_are_where_their_rules_say(written: dict[Path, Seen]) -> None:
    for name in ("OPERATIONS", "OPERATIONS.zh-CN"):
        page = next(page for page in written if page.name == f"{name}.html")
        assert page.parent.name == "docs"
        assert written[page].names.keys() >= anchors(ROOT / "docs" / f"{name}.md")


def test_a_page_leads_to_its_twin(written: dict[Path, Seen]) -> None:
    by_name = {page.name: seen for page, seen in written.items()}
    assert "index.zh-CN.html" in by_name["index.html"].links
    assert "index.html" in by_name["index.zh-CN.html"].links
