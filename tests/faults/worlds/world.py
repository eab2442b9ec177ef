"""Defines a world: everything about one table, its servers, roles and settings.

It is data, and a pure function of its seed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

from tests.faults.worlds.kinds import BY_NAME, Kind, kinds

# What may be unusual about a world, and how often. It is few things at a time, so that one does not
# hide the other.
ODD = {"key": 5, "filter": 4, "names": 2, "encoding": 1, "settings": 3, "line": 2, "front table": 3}
BIGINT = BY_NAME["bigint"]
VERSIONS = (15, 15, 15, 15, 14, 16, 17, 18)  # 15 has everything: contrib and ICU
FRONTS = ("sqlite", "postgres", "mariadb")
CLIENTS = ("kafka-python", "librdkafka")
PLAIN = (
    "person",
    "account",
    "permit",
    "district",
    "holder",
    "amount",
    "status",
    "since",
    "no",
    "kind",
)
NAMES = (
    "Person", "人员 表", 'we"ird', "select", "user", "it's", "back\\slash", "a:b", "100%s", "$1",
    "order by", "`tick`",
    "n" * 63, "信" * 21, "ORDER", "{x}", "a--b", "名,称", "[k]",
)  # fmt: skip
# What an owner may have set for a role or a database. The first ones change texts.
SETTINGS: Sequence[tuple[str, str]] = (
    ("TimeZone", "Asia/Shanghai"), ("DateStyle", "SQL, DMY"),
    ("IntervalStyle", "postgres_verbose"), ("bytea_output", "escape"), ("extra_float_digits", "-3"),
    ("search_path", "nowhere"), ("standard_conforming_strings", "off"), ("array_nulls", "off"),
    ("quote_all_identifiers", "on"), ("client_encoding", "GBK"),
    ("default_transaction_isolation", "serializable"), ("default_transaction_read_only", "on"),
    ("enable_indexscan", "off"), ("transform_null_equals", "on"), ("idle_session_timeout", "4s"),
    ("lock_timeout", "50ms"), ("work_mem", "64kB"), ("xmloption", "document"),
    ("default_transaction_deferrable", "on"), ("row_security", "off"),
)  # fmt: skip
EVERYDAY = (
    "numeric",
    "interval",
    "citext",
)  # types of keys with several spellings that units really have
TEXTUAL = 5  # of them
# Types whose text they change
SENSITIVE = (
    "timestamp with time zone",
    "timestamp",
    "date",
    "interval",
    "bytea",
    "double precision",
)
# The same of a MariaDB, for all its sessions
GLOBALS: Sequence[tuple[str, str]] = (
    ("sql_safe_updates", "1"), ("tx_read_only", "1"), ("sql_select_limit", "10"),
    ("autocommit", "0"),
    ("sql_mode", "'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'"),
    ("time_zone", "'+08:00'"), ("tx_isolation", "'READ-UNCOMMITTED'"), ("sql_auto_is_null", "1"),
    ("unique_checks", "0"), ("max_join_size", "100"),
)  # fmt: skip
OF_FRONTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "sqlite": (),
    "postgres": SETTINGS,
    "mariadb": GLOBALS,
}
# What others have put on the front-end table: benign ones, and ones that refuse or change rows
BENIGN = ("index", "column with a default")
HOSTILE = (
    "unique index",
    "check",
    "swallowing trigger",
    "changing trigger",
    "not null column",
    "foreign key",
)
ENCODINGS = ("UTF8",) * 8 + ("EUC_CN", "SQL_ASCII")

# Codes with which the product may refuse what it cannot do exactly, by what is drawn
OF_FILTERS = ("CONFIG_INVALID",)
OF_FRONT = ("FRONT_TABLE_WRONG", "ROW_REFUSED")
OF_LINES = {"source": ("SOURCE_UNFIT",), "front": ("FRONT_UNFIT",)}
OF_KEYS = ("KEY_UNORDERED",)


class Column(NamedTuple):
    """A column of the drawn table."""

    name: str
    kind: str  # see kinds.py
    shared: str | None  # its name in front end and events; None: it does not leave

    @property
    def of(self) -> Kind:
        """Its type."""
        return BY_NAME[self.kind]


class Filter(NamedTuple):
    """Keeps back the rows for which `test` (is_in, not_in or is_null) does not hold.

    `values` are places in the kind's few values.
    """

    column: int
    test: str
    values: tuple[int, ...] = ()


class Settings(NamedTuple):
    """Holds what somebody has set, for the agent's role or for the whole database.

    In MariaDB it is set for the server.
    """

    place: str  # role or database; of MariaDB server
    values: Mapping[str, str]


class World(NamedTuple):
    """One drawn world. Its last column is `note`, which marks each version of each row."""

    seed: int
    version: int  # of PostgreSQL
    front: str
    client: str
    encoding: str  # of the business database
    front_encoding: str
    app: str  # schema of what the unit has made
    schema: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[int, ...]
    identity: str  # primary, index or deferrable
    filters: tuple[Filter, ...]
    at_source: Settings
    at_front: Settings
    drops: tuple[str, ...]  # lines whose proxy drops start-up parameters: source, front
    grants: str  # page (by hand, as docs/SECURITY.md has them) or administrator (init --apply --as)
    made: bool  # whether the front-end table was there before the agent
    upon: tuple[str, ...]  # what others have put on it
    soft: bool  # whether deletes only mark rows
    rows: int
    killed: str  # the process that dies while rows are copied: capture, publish or none

    @classmethod
    def of(cls, seed: int) -> Self:
        """Returns the world of a seed."""
        random = Random(f"world {seed}")
        odd = set(random.choices(list(ODD), list(ODD.values()), k=random.choice((1, 2, 2, 3))))
        version = random.choice(VERSIONS)
        encoding = random.choice(ENCODINGS) if "encoding" in odd else "UTF8"
        front_encoding = random.choice(ENCODINGS) if "encoding" in odd else "UTF8"
        offered = kinds(version, encoding == "UTF8")
        front = FRONTS[seed % 3]
        names = _Names(random, "names" in odd, encoding)
        columns = _key(random, offered, names) if "key" in odd else [_column(BIGINT, names)]
        keys = tuple(range(len(columns)))
        columns += [
            _column(random.choice(offered), names, random.random() < 0.85)
            for _ in range(random.randint(1, 2))
        ]
        if odd & {"line", "settings"}:
            columns.append(_column(BY_NAME[random.choice(SENSITIVE)], names))
        columns += [_column(BY_NAME["text"], names), Column("note", "text", "note")]
        filters = _filters(random, columns, offered, names) if "filter" in odd else ()
        lines = ["source", "front"] if front == "postgres" else ["source"]
        drops = (random.choice(lines),) if "line" in odd else ()
        schema = names.next()
        return cls(
            seed=seed,
            version=version,
            front=front,
            client=CLIENTS[seed // 3 % 2],
            encoding=encoding,
            front_encoding=front_encoding,
            app=schema if random.random() < 0.5 else names.next(),
            schema=schema,
            table=names.next(),
            columns=tuple(columns),
            key=keys,
            identity=random.choices(("primary", "index", "deferrable"), (6, 2, 2))[0],
            filters=filters,
            at_source=_settings(random, SETTINGS, "settings" in odd, "source" in drops),
            at_front=_settings(random, OF_FRONTS[front], "settings" in odd, "front" in drops),
            drops=drops,
            grants=random.choice(("page", "administrator")),
            made="front table" in odd and random.random() < 0.4,
            upon=(random.choice(BENIGN + HOSTILE),) if "front table" in odd else (),
            soft=random.random() < 0.25,
            rows=random.choice((300, 1500, 2500)),
            killed=random.choice(("capture", "publish", "none", "none")),
        )

    @property
    def key_columns(self) -> list[Column]:
        """The key's columns in order."""
        return [self.columns[place] for place in self.key]

    @property
    def shared(self) -> list[Column]:
        """The columns that leave."""
        return [column for column in self.columns if column.shared is not None]

    @property
    def may_refuse(self) -> frozenset[str]:
        """Returns the codes that are a fair answer to this world.

        The promise is that nothing goes wrong in silence.
        """
        codes: set[str] = set()
        tested = [self.columns[condition.column].of for condition in self.filters]
        if any(kind.respelled or "EXTENSION" in "".join(kind.made) for kind in tested):
            codes.update(OF_FILTERS)
        if self.made or set(self.upon) & set(HOSTILE):
            codes.update(OF_FRONT)
        for line in self.drops:
            codes.update(OF_LINES[line])
        if self.encoding != "UTF8":
            codes.update(OF_LINES["source"])
        if self.front == "postgres" and self.front_encoding != "UTF8":
            codes.update(OF_LINES["front"])
        if any("knows no case" in column.kind for column in self.key_columns):
            codes.update(OF_KEYS)
        if "default_transaction_read_only" in self.at_source.values:
            codes.add("INIT_REFUSED")
        return frozenset(codes)

    def lines(self) -> list[str]:
        """Returns the world for the eye, a few lines."""
        key = ", ".join(f"{column.name!r} {column.kind}" for column in self.key_columns)
        rest = ", ".join(
            f"{column.name!r} {column.kind}{'' if column.shared else ' (not shared)'}"
            for column in self.columns[len(self.key) : -1]
        )
        filters = "; ".join(self._told(condition) for condition in self.filters) or "none"
        settings = []
        for side, found in (("source", self.at_source), ("front end", self.at_front)):
            if found.values:
                values = ", ".join(f"{name} = {value}" for name, value in found.values.items())
                settings.append(f"{side}, {found.place}: {values}")
        drops = f"; start-up parameters are dropped before {', '.join(self.drops)}" * bool(
            self.drops
        )
        upon = f"; upon it: {', '.join(self.upon)}" * bool(self.upon)
        deaths = f"; {self.killed} is killed" * (self.killed != "none")
        return [
            (
                f"world {self.seed}: PostgreSQL {self.version} ({self.encoding}) "
                f"to {self.front} by {self.client}"
            ),
            (
                f"  table {self.schema!r}.{self.table!r}, types in {self.app!r}, {self.rows} rows; "
                f"grants by {self.grants}{deaths}"
            ),
            f"  key ({self.identity}) {key}; other columns {rest}",
            f"  filter {filters}",
            f"  settings {'; '.join(settings) or 'none'}{drops}",
            (
                f"  front-end table {'was there' if self.made else 'is made by init'}, "
                f"{'soft' if self.soft else 'hard'} deletes{upon}"
            ),
        ]

    def _told(self, condition: Filter) -> str:
        column = self.columns[condition.column]
        values = [column.of.few[place][1] for place in condition.values]
        return f"{column.name!r} ({column.kind}) {condition.test} {values or 'true'}"

    def dumps(self, found: str) -> str:
        """As a file; `found` says in a line what it has found."""
        fields = self._asdict() | {
            "columns": [column._asdict() for column in self.columns],
            "filters": [condition._asdict() for condition in self.filters],
            "at_source": self.at_source._asdict(),
            "at_front": self.at_front._asdict(),
        }
        return json.dumps({"found": found} | fields, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def loads(cls, text: str) -> Self:
        """Returns the world of a file."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("found")
        fields["columns"] = tuple(Column(**column) for column in fields["columns"])
        fields["filters"] = tuple(
            Filter(given["column"], given["test"], tuple(given["values"]))
            for given in fields["filters"]
        )
        for side in ("at_source", "at_front"):
            fields[side] = Settings(**fields[side])
        for name in ("key", "drops", "upon"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


class _Names:
    """Draws names that are not taken yet, plain ones and hostile ones.

    No two of them are names that a careless front end takes for each other.
    """

    def __init__(self, random: Random, hostile: bool, encoding: str) -> None:
        self._random = random
        self._taken = {"note"}
        self._hostile = [name for name in NAMES if encoding == "UTF8" or name.isascii()]
        self._share = 0.7 if hostile else 0.0

    def next(self) -> str:
        """Returns the next name."""
        pool = self._hostile if self._random.random() < self._share else PLAIN
        free = [name for name in pool if name.casefold() not in self._taken]
        name = self._random.choice(free) if free else f"name_{len(self._taken)}"
        self._taken.add(name.casefold())
        return name


def _column(kind: Kind, names: _Names, shared: bool = True) -> Column:
    name = names.next()
    return Column(name, kind.name, name if shared else None)


def _key(random: Random, offered: Sequence[Kind], names: _Names) -> list[Column]:
    """Returns one to three columns; the last one has enough values.

    Often it has values of several spellings, or a type of the unit's own.
    """
    large = [kind for kind in offered if kind.bounded > 20_000]
    spelled = [kind for kind in large if kind.respelled]
    spelled += [kind for kind in spelled if kind.name in EVERYDAY] * 3
    own = [kind for kind in large if kind.made]
    last = random.choice(random.choices((spelled, own, large), (4, 3, 3))[0])
    parts = random.choices((1, 2, 3), (6, 3, 1))[0]
    before = [random.choice(offered) for _ in range(parts - 1)]
    return [_column(kind, names) for kind in [*before, last]]


def _filters(
    random: Random, columns: list[Column], offered: Sequence[Kind], names: _Names
) -> tuple[Filter, ...]:
    """Returns one condition or two, each on a column of its own, which stands before the note."""
    found = []
    for _ in range(random.choices((1, 2), (3, 1))[0]):
        kind = random.choice([kind for kind in offered if kind.few])
        columns.insert(-1, _column(kind, names, random.random() < 0.6))
        place = len(columns) - 2
        test = random.choices(("is_in", "not_in", "is_null"), (4, 4, 1))[0]
        many = min(len(kind.few), random.randint(1, 2)) if test != "is_null" else 0
        found.append(Filter(place, test, tuple(random.sample(range(len(kind.few)), many))))
    return tuple(found)


def _settings(
    random: Random, known: Sequence[tuple[str, str]], some: bool, dropped: bool
) -> Settings:
    """Returns a few settings, or none.

    Where a proxy drops what the agent asks for, they are settings that change texts.
    """
    place = random.choice(("role", "database"))
    place = "server" if known is GLOBALS else place
    if dropped:
        return Settings(place, dict(known[:TEXTUAL]))
    if not some or not known:
        return Settings(place, {})
    often = [*known, *known[:TEXTUAL]]
    return Settings(place, dict(random.sample(often, random.randint(1, 2))))


class Kept(NamedTuple):
    """A world in which a fault of the product was found; `make faults` runs it for ever."""

    name: str
    found: str
    world: World


FOLDER = Path(__file__).parent / "kept"


def kept() -> tuple[Kept, ...]:
    """Returns the worlds that are kept, a file each."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.json"))}
    return tuple(
        Kept(name, json.loads(text)["found"], World.loads(text)) for name, text in texts.items()
    )
