"""Writes the handbook as a small site: `python -m tools.site [FOLDER]`.

Each document becomes a page with the same path, so `docs/OPERATIONS.md#agentdown` is
`docs/OPERATIONS.html#agentdown` there. The pages need no server and no network: they can be opened
from the folder, or put behind any web server for the addresses `runbook_url` of the alerts.
"""

import argparse
import html
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "dist" / "site"
_STYLE = Path(__file__).with_name("site.css")
_CHINESE = ".zh-CN"
_FIRST = "README"
# Headings of the navigation, with the first part of the paths below them
_GROUPS = {
    "": ("Handbook", "手册"),
    "docs/sources/": ("Sources", "数据源"),
    "docs/decisions/": ("Decisions", "设计决定（英文）"),
    "tests/": ("Development", "开发（英文）"),
}
_WORDS = {
    "en": ("Contents", "All headings", "To the content", "This page"),
    "zh": ("目录", "全部标题", "跳到正文", "本页内容"),
}


class Heading(NamedTuple):
    """A heading of a page."""

    level: int  # 1 is the page's title
    text: str
    anchor: str


class Page:
    """One document: where it comes from, what it is called, and what it says in HTML."""

    def __init__(self, source: Path) -> None:
        self.source = source.relative_to(ROOT)
        self.language = "zh" if _CHINESE in source.name else "en"
        self.headings: list[Heading] = []
        self.files: set[Path] = set()  # what it shows or links to that is no page

        parser = MarkdownIt("commonmark").enable("table")
        tokens = parser.parse(source.read_text(encoding="utf-8"))
        self._name_headings(tokens)
        self._turn_links(tokens)
        self.content = parser.renderer.render(tokens, parser.options, {})

    @property
    def title(self) -> str:
        """Returns the page's first heading."""
        return self.headings[0].text

    @property
    def path(self) -> Path:
        """Returns the page's place in the site."""
        return _page_path(self.source)

    @property
    def twin(self) -> Path:
        """Returns the path of the same document in the other language, whether it exists or not."""
        name = self.source.name
        if self.language == "zh":
            return self.source.with_name(name.replace(_CHINESE, ""))
        return self.source.with_name(name.replace(".md", f"{_CHINESE}.md"))

    def _name_headings(self, tokens: Sequence[Token]) -> None:
        """Gives each heading the anchor that forges give it, so that links hold in both."""
        for opening, inline in pairwise(tokens):
            if opening.type != "heading_open":
                continue
            text = "".join(part.content for part in inline.children or ())
            opening.attrSet("id", anchor(text))
            self.headings.append(Heading(int(opening.tag[1:]), text, anchor(text)))

    def _turn_links(self, tokens: Sequence[Token]) -> None:
        """Makes links to documents links to their pages, and notes the other files."""
        for token in tokens:
            for part in token.children or ():
                link = part.attrGet("href")
                if link is not None:
                    part.attrSet("href", self._turned(str(link)))
                if part.type == "html_inline":
                    self._note_pictures(part.content)
            if token.type == "html_block":
                self._note_pictures(token.content)

    def _turned(self, link: str) -> str:
        name, mark, place = link.partition("#")
        if not name or ":" in name:
            return link
        target = Path(os.path.normpath(self.source.parent / name))
        if target.suffix != ".md":
            self.files.add(target)
            return link
        return relative(_page_path(target), self.path) + mark + place

    def _note_pictures(self, text: str) -> None:
        for name in re.findall(r'<img src="([^":]+)"', text):
            self.files.add(Path(os.path.normpath(self.source.parent / name)))


def anchor(heading: str) -> str:
    """Returns the anchor of a heading: lower case, no punctuation, hyphens for blanks."""
    kept = (c for c in heading.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def relative(target: Path, page: Path) -> str:
    """Returns the link from a page to a file, both by their places in the site."""
    return Path(os.path.relpath(target, page.parent)).as_posix()


def documents() -> list[Path]:
    """Returns every document of the project, the readme first."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "README.md"]
    return sorted(found, key=lambda path: (_FIRST not in path.name, path))


def write(folder: Path) -> list[Path]:
    """Writes the site and returns its pages' paths; what was in the folder is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    every = [Page(source) for source in documents()]
    for page in every:
        for name in page.files:
            _copy(name, folder)
        _save(folder / page.path, _whole(page.title, page.content, page, every))

    for page in every:
        if page.path.stem in ("index", f"index{_CHINESE}"):
            listed = _whole(_words(page)[1], _all_headings(page, every), page, every)
            _save(folder / _listing_path(page), listed)
    shutil.copy(_STYLE, folder / _STYLE.name)
    return sorted(folder.rglob("*.html"))


def _page_path(source: Path) -> Path:
    """Returns where a document's page is; the project's readme is the site's first page."""
    if source.parent == Path():
        source = source.with_name(source.name.replace(_FIRST, "index"))
    return source.with_suffix(".html")


def _listing_path(page: Page) -> Path:
    return Path(f"headings{_CHINESE}.html" if page.language == "zh" else "headings.html")


def _words(page: Page) -> tuple[str, str, str, str]:
    return _WORDS[page.language]


def _copy(name: Path, folder: Path) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, target)


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _whole(title: str, content: str, page: Page, every: Sequence[Page]) -> str:
    """Returns a whole page of the site, in the language and at the depth of `page`."""
    contents, _, skip, _ = _words(page)
    style = relative(Path(_STYLE.name), page.path)
    spoken = "zh-Hans" if page.language == "zh" else "en"
    return "\n".join(
        (
            "<!DOCTYPE html>",
            f'<html lang="{spoken}">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>",
            f'<link rel="stylesheet" href="{style}">',
            '<link rel="icon" href="data:,">',
            "</head>",
            "<body>",
            f'<a href="#content" class="skip">{skip}</a>',
            f'<nav aria-label="{contents}">',
            *_navigation(page, every),
            "</nav>",
            '<main id="content" tabindex="-1">',
            content,
            "</main>",
            "</body>",
            "</html>",
            "",
        )
    )


def _navigation(page: Page, every: Sequence[Page]) -> Iterator[str]:
    """Yields the list of pages in the page's language, or English where there is no other."""
    by_source = {other.source: other for other in every}
    twin = by_source.get(page.twin)
    if twin is not None:
        tag, word = ("en", "English") if page.language == "zh" else ("zh-Hans", "中文")
        link = relative(twin.path, page.path)
        yield f'<p><a href="{link}" lang="{tag}" hreflang="{tag}">{word}</a></p>'

    yield from _chapters(page)
    grouped: dict[str, list[Page]] = {group: [] for group in _GROUPS}
    for other in every:
        if other.language == page.language or other.twin not in by_source:
            grouped[_group(other)].append(other)
    for group, members in grouped.items():
        title = _GROUPS[group][page.language == "zh"]
        yield f"<details{'' if group else ' open'}><summary>{title}</summary>"
        yield "<ul>"
        for other in members:
            here = ' aria-current="page"' if other is page else ""
            link = relative(other.path, page.path)
            yield f'<li><a href="{link}"{here}>{html.escape(other.title)}</a></li>'
        yield "</ul></details>"

    link = relative(_listing_path(page), page.path)
    yield f'<p><a href="{link}">{_words(page)[1]}</a></p>'


def _chapters(page: Page) -> Iterator[str]:
    """Yields the chapters of a page that has more than a screen shows."""
    chapters = [heading for heading in page.headings if heading.level == 2]
    if len(chapters) < 3:
        return
    link = relative(page.path, page.path)
    yield f"<details open><summary>{_words(page)[3]}</summary>"
    yield "<ul>"
    for heading in chapters:
        yield f'<li><a href="{link}#{heading.anchor}">{html.escape(heading.text)}</a></li>'
    yield "</ul></details>"


def _group(page: Page) -> str:
    """Returns the group of the navigation: the longest path above the page."""
    path = page.source.as_posix()
    return max((group for group in _GROUPS if path.startswith(group)), key=len)


def _all_headings(page: Page, every: Sequence[Page]) -> str:
    """Returns the list of all headings, which the browser's own search looks through."""
    lines = [f"<h1>{_words(page)[1]}</h1>"]
    for other in every:
        if other.language != page.language:
            continue
        lines.append(f'<h2><a href="{other.path.as_posix()}">{html.escape(other.title)}</a></h2>')
        lines.append("<ul>")
        for heading in other.headings[1:]:
            link = f"{other.path.as_posix()}#{heading.anchor}"
            lines.append(f'<li><a href="{link}">{html.escape(heading.text)}</a></li>')
        lines.append("</ul>")
    return "\n".join(lines)


def main() -> None:
    """Writes the site and says where it is."""
    parser = argparse.ArgumentParser(description="Write the handbook as a small site.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    written = write(folder)
    print(f"docs: {len(written)} pages in {folder}; begin with {folder / 'index.html'}")


if __name__ == "__main__":
    main()
