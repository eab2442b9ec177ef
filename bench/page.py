"""The page that shows what the benches have found, docs/BENCHMARKS.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "BENCHMARKS.md"


def write(tables: Mapping[str, Sequence[str]], page: Path = PAGE) -> None:
    """Puts each table in its place on the page, which lies between two comments of its name.

    Raises ValueError for a table without a place.
    """
    text = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise ValueError(f"{page} has no place for {name}")
        text = before + begin + "\n".join([*lines, end]) + after
    page.write_text(text, encoding="utf-8")
