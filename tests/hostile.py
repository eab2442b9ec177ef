"""Makes names that would break a statement whose builder is careless; all come from one seed.

Such a builder forgets to quote, doubles the wrong sign, or lets a driver interpret them.
"""

import random
import unicodedata
from collections.abc import Iterator

FRAGMENTS = (
    '"', '""', "'", "''", "`", "``", "\\", "\\'", '\\"', "%", "%s", "%%", "%(a)s", "%1$s", ":a",
    "::text", "$1", "$$", "$a$", "?", "{}", "{0}", "{name}", "{{", "}",
    ";", "--", "-- ", "/*", "*/", "#", "\n", "\r\n", "\t", "\x01", " ", "  ", ".", ",", "(", ")",
    "[", "]", "@@version", "@a", "&", "|", "<", ">", "=", "0x41", "1", "e'", "E'\\x41'", 'U&"',
    "N'", "NULL", "null", "select", "Select", "ORDER", "'; DROP TABLE x; --", '"; DROP TABLE x; --',
    "`; DROP TABLE x; #", "' OR '1'='1", '") ; DELETE FROM t --', "x\ny", "é", "e\u0301", "ß", "İ",
    "订单", "人员", "名 称", "\u00a0", "\u200b", "\u202e", "\ufeff", "＇", "＂", "ʼ", "\uff3c",
    "\uffff", "𠮷", "🧾", "ctid", "oid", "rowid", "_rowid_", "xmin", "tableoid", "pg_catalog",
    "sqlite_x", "a" * 40, "长" * 21,
)  # fmt: skip
LONGEST = 63  # bytes of UTF-8 in a name of PostgreSQL
SYSTEM = {"ctid", "oid", "xmin", "tableoid"}  # column names that PostgreSQL keeps for itself


def names(count: int, seed: int, forbidden: str = "", mariadb: bool = False) -> list[str]:
    """Returns so many names, no two the same to a server that ignores case and accents.

    `forbidden` has signs that none of them holds; with `mariadb` they are such as it can hold.
    """
    made: dict[str, str] = {}
    for name in _candidates(random.Random(seed)):
        if (
            name not in SYSTEM
            and not set(name) & set(forbidden)
            and not (mariadb and (max(name) > "\uffff" or name.endswith((" ", "\t", "\n", "\r"))))
        ):
            made.setdefault(_folded(name), name)
        if len(made) == count:
            break
    return list(made.values())


def _candidates(chance: random.Random) -> Iterator[str]:
    yield from FRAGMENTS
    number = 0
    while True:
        number += 1
        parts = [*chance.choices(FRAGMENTS, k=chance.randint(1, 5))]
        parts.insert(chance.choice((0, len(parts))), f"{number:04x}")
        yield _cut("".join(parts))
        yield _cut(f"{number:04x}" + "".join(parts) * 8)  # of exactly the greatest length, mostly


def _folded(name: str) -> str:
    return "".join(
        sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign)
    ).casefold()


def _cut(name: str) -> str:
    return name.encode()[:LONGEST].decode(errors="ignore")
