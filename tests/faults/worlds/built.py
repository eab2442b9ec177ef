"""Builds a world on real servers.

That is databases, roles with the documented grants, settings, the unit's table, and what others do
to the front end.
"""

import json
import re
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url

from tests.agent_process import Installation, front_url
from tests.checker.front import at_front
from tests.checker.likeness import Compared, Condition, compared, condition, connected
from tests.checker.table import Front, SharedTable, in_mariadb
from tests.faults.planting import ROOT
from tests.faults.worlds.content import Content, type_of
from tests.faults.worlds.pooler import Pooler
from tests.faults.worlds.world import Settings, World
from tests.services.fixtures import slots_dropped
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.services.mariadb import MariaDbAddress, execute, mariadb
from tests.services.postgres import PostgresServer, Version
from tests.services.processes import HOST
from tests.waiting import eventually

SECURITY = ROOT / "docs" / "SECURITY.md"
RESOURCE = "drawn"
# Of sessions of the unit's own: nothing that is set for the database reaches them.
OWN = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c extra_float_digits=3 "
    "-c bytea_output=hex -c search_path=pg_catalog -c array_nulls=on "
    "-c standard_conforming_strings=on -c idle_session_timeout=0 -c lock_timeout=0 "
    "-c default_transaction_read_only=off -c quote_all_identifiers=off "
    "-c default_transaction_isolation=read\\ committed -c transform_null_equals=off"
)
JOURNAL = sql.Identifier("judge", "versions")
GRANTED = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE")


class Servers:
    """Keeps one server of each kind for all worlds, started when a world first asks for it.

    Start them in the main thread.
    """

    def __init__(self) -> None:
        self._everything = ExitStack()
        self._postgres: dict[int, PostgresServer] = {}
        self._mariadb: MariaDbAddress | None = None
        self.kafka: KafkaAddress = self._everything.enter_context(KafkaBroker.start())
        self.globals = threading.Lock()  # of the MariaDB

    def prepare(self, worlds: Sequence[World]) -> None:
        """Starts what these worlds need."""
        for world in worlds:
            self.postgres(world.version)
            if world.front == "mariadb":
                self.mariadb()

    def postgres(self, version: int) -> PostgresServer:
        """Returns the PostgreSQL of a version."""
        if version not in self._postgres:
            known: Version = version  # type: ignore[assignment]  # worlds draw no other
            limited = {"max_slot_wal_keep_size": "1GB"}
            self._postgres[version] = self._everything.enter_context(
                PostgresServer.start(known, limited)
            )
        return self._postgres[version]

    def mariadb(self) -> MariaDbAddress:
        """Returns the MariaDB."""
        if self._mariadb is None:
            self._mariadb = self._everything.enter_context(mariadb())
        return self._mariadb

    def close(self) -> None:
        """Ends them all."""
        self._everything.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


@dataclass
class Built(Installation):
    """A world on its servers, with the agent's configuration."""

    world: World = field(kw_only=True)
    package: Path | None = field(kw_only=True)  # another copy of the product
    front_admin: str = field(
        kw_only=True
    )  # of the front end; the agent's own role has the documented rights only

    def command(
        self, *arguments: str, expect: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command of the agent to its end, whatever that is."""
        kept = {
            name: value
            for name, value in environ.items()
            if not name.startswith(("COV", "SYNC_AGENT_"))
        }
        told = {"PYTHONPATH": str(self.package or ROOT), "SYNC_AGENT_LANG": "en", "COLUMNS": "400"}
        command = [sys.executable, "-P", "-m", "agent", "-c", str(self.config), *arguments]
        return subprocess.run(
            command, env=kept | told, capture_output=True, text=True, timeout=120, check=False
        )

    def findings(self) -> list[dict[str, str]]:
        """Returns what `check` says, but for what is well; empty where it cannot say anything."""
        done = self.command("check", "--json")
        try:
            told = json.loads(done.stdout)
        except ValueError:
            return []
        return [finding for finding in told if finding["level"] != "ok"]

    @property
    def admin(self) -> psycopg.Connection[Any]:
        """A session of the unit's own at the source."""
        return psycopg.connect(self.source, autocommit=True, options=OWN)

    def run(self, *statements: sql.Composable | str) -> None:
        """Runs statements at the source, as its owner."""
        with self.admin as connection:
            for statement in statements:
                text = statement if isinstance(statement, str) else statement.as_string(connection)
                connection.execute(text.encode())

    @property
    def conditions(self) -> list[Condition]:
        """The filter, with values as a person may give them to PostgreSQL."""
        return [
            Condition(
                self.world.columns[one.column].name,
                one.test,
                [_person(self.world.columns[one.column].of.few[place][1]) for place in one.values],
            )
            for one in self.world.filters
        ]

    def columns(self, names: Sequence[str]) -> list[Compared]:
        """Returns columns as the source compares them."""
        with connected(self.source) as connection:
            return compared(connection, self.world.schema, self.world.table, names)

    @property
    def shared(self) -> SharedTable:
        """The table as the judge takes it."""
        world = self.world
        tested = self.columns([one.column for one in self.conditions])
        return SharedTable(
            topic=f"{self.name}.{RESOURCE}",
            schema=world.schema,
            table=world.table,
            columns={column.name: column.shared or "" for column in world.shared},
            key=tuple(column.name for column in world.key_columns),
            front=world.table,
            condition=condition(tested, self.conditions),
            deleted="judge_deleted" if world.soft else None,
        )

    def configure(self) -> None:
        """Writes the configuration."""
        self.write_config()
        world = self.world
        lines = [
            self.config.read_text(encoding="utf-8"),
            "[[resource]]",
            f'name = "{RESOURCE}"',
            f"table = {_toml(f'{world.schema}.{world.table}')}",
            f"columns = {_toml([column.name for column in world.shared])}",
        ]
        if world.soft:
            lines += ['delete = "soft"', "[resource.technical]", 'deleted = "judge_deleted"']
        for one in world.filters:
            column = world.columns[one.column]
            values = [column.of.few[place][1] for place in one.values]
            lines += [
                "[[resource.filter]]",
                f"column = {_toml(column.name)}",
                f"{one.test} = {_toml(values if one.test != 'is_null' else True)}",
            ]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make_table(self, content: Content) -> None:
        """Makes the unit's types, its table and rows, and the judge's journal of row versions."""
        world = self.world
        made: list[sql.Composable] = [
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name))
            for name in (world.app, world.schema, "judge")
        ]
        statements = dict.fromkeys(text for column in world.columns for text in column.of.made)
        app = sql.Identifier(world.app)
        made += [sql.SQL(statement).format(app=app) for statement in statements]
        self.run(*made, *self._table())
        tested = self.columns([one.column for one in self.conditions])
        shared = condition(tested, self.conditions, "NEW").as_string(self.admin)
        self.run(
            'CREATE TABLE "judge"."versions" (note text, shared boolean)',
            'CREATE FUNCTION "judge"."note"() RETURNS trigger LANGUAGE plpgsql '
            "SECURITY DEFINER SET search_path = pg_catalog AS $judge$ "
            f'BEGIN INSERT INTO "judge"."versions" VALUES (NEW.note, {shared}); RETURN NULL; END '
            "$judge$",
            sql.SQL(
                "CREATE TRIGGER judge AFTER INSERT OR UPDATE ON {} "
                'FOR EACH ROW EXECUTE FUNCTION "judge"."note"()'
            ).format(content.table),
            *content.fill(),
        )

    def _table(self) -> Iterator[sql.Composable]:
        world, table = self.world, sql.Identifier(self.world.schema, self.world.table)
        columns = []
        for place, column in enumerate(world.columns):
            made = sql.SQL("{} {}{}").format(
                sql.Identifier(column.name),
                sql.SQL(column.of.type).format(app=sql.Identifier(world.app)),
                sql.SQL(" NOT NULL" if place in world.key else ""),
            )
            columns.append(made)
        key = sql.SQL(", ").join(sql.Identifier(column.name) for column in world.key_columns)
        if world.identity == "index":
            yield sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns))
            yield sql.SQL("CREATE UNIQUE INDEX judged_key ON {} ({})").format(table, key)
            yield sql.SQL("ALTER TABLE {} REPLICA IDENTITY USING INDEX judged_key").format(table)
            return
        deferrable = world.identity == "deferrable"
        columns.append(
            sql.SQL("PRIMARY KEY ({}){}").format(key, sql.SQL(" DEFERRABLE" * deferrable))
        )
        yield sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns))
        if deferrable:
            yield sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(table)

    def documented_grants(self) -> None:
        """Runs the grants of docs/SECURITY.md for the source as the database's owner.

        The names are those of this world.
        """
        (text,) = re.findall(
            r"^```sql source\n(.*?)^```$",
            SECURITY.read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        assert isinstance(text, str)
        ours = {
            '"id", "name", "district"': self._listed(),
            '"business"': _name(str(conninfo_to_dict(self.source)["dbname"])),
            '"public"': _name(self.world.schema),
            '"person"': _name(self.world.table),
            '"sync_agent_agent"': _name(self.slot),
            '"sync_agent"': _name(self.name),
        }
        pattern = re.compile("|".join(map(re.escape, ours)))
        self.run(*pattern.sub(lambda found: ours[found[0]], text).splitlines())

    def _listed(self) -> str:
        """Returns the columns that the agent reads."""
        tested = {one.column for one in self.world.filters}
        names = [
            _name(column.name)
            for place, column in enumerate(self.world.columns)
            if column.shared or place in tested
        ]
        return ", ".join(names)

    def may_read(self, granted: bool) -> None:
        """Takes from the agent, or gives it back, the right to read the table."""
        table = f"{_name(self.world.schema)}.{_name(self.world.table)}"
        self.run(
            f"GRANT SELECT ({self._listed()}) ON TABLE {table} TO {_name(self.name)}"
            if granted
            else f"REVOKE SELECT ON TABLE {table} FROM {_name(self.name)}"
        )

    # ---- the front end

    def make_front_table(self) -> None:
        """The front-end table as somebody made it by hand: text columns, which take every type."""
        world = self.world
        front = self.places.front
        key = [str(column.shared) for column in world.key_columns]
        parts = []
        for column in world.shared:
            name = str(column.shared)
            parts.append(f"{_name(name)} {_text(front, len(key) if name in key else 0)}")
        if world.soft:
            parts.append('"judge_deleted" integer NOT NULL DEFAULT 0')
        parts.append(f"PRIMARY KEY ({', '.join(map(_name, key))})")
        self.at_front(f"CREATE TABLE {_name(world.table)} ({', '.join(parts)})", owner=True)

    def at_front(self, statement: str, owner: bool = False) -> list[tuple[Any, ...]]:
        """Runs a statement at the front end, as its administrator or as the agent's role.

        The agent's role owns what it made.
        """
        front = self.places.front
        if isinstance(front, Path):
            front.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(front, timeout=30, isolation_level=None)) as file:
                return file.execute(statement).fetchall()
        if in_mariadb(front):
            return at_front(self.front_admin, statement.replace("%", "%%"))
        given = conninfo_to_dict(self.front_admin)
        user = self.name + "_front" if owner else given.get("user")
        with psycopg.connect(
            make_conninfo(self.front_admin, user=str(user)),
            autocommit=True,
            options="-c client_encoding=UTF8 -c search_path=public "
            "-c default_transaction_read_only=off -c lock_timeout=0",
        ) as connection:
            told = connection.execute(statement.encode())
            return told.fetchall() if told.description else []

    def meddle(self) -> None:
        """What others do to the front-end table: see BENIGN and HOSTILE in world.py."""
        table = _name(self.world.table)
        places = [column for column in self.world.shared if column not in self.world.key_columns]
        column = _name(str(places[0].shared))
        front = self.places.front
        kind = (
            "sqlite" if isinstance(front, Path) else "mariadb" if in_mariadb(front) else "postgres"
        )
        part = f"{column}(50)" if kind == "mariadb" else column
        for deed in self.world.upon:
            for statement in _deeds(deed, kind, table, column, part):
                self.at_front(statement, owner=deed != "foreign key")


def _deeds(deed: str, kind: str, table: str, column: str, part: str) -> list[str]:
    """Statements for each database."""
    mark = "'%00%'"  # in some notes
    plain = {
        "index": [
            f"CREATE INDEX judge_index ON {table} (note{'(50)' if kind == 'mariadb' else ''})"
        ],
        "column with a default": [
            f"ALTER TABLE {table} ADD COLUMN judge_extra integer NOT NULL DEFAULT 7"
        ],
        "unique index": [f"CREATE UNIQUE INDEX judge_unique ON {table} ({part})"],
        "not null column": [f"ALTER TABLE {table} ADD COLUMN judge_extra varchar(9) NOT NULL"],
    }
    if kind == "sqlite":
        plain["not null column"] = [
            (
                f"CREATE TRIGGER judge_null BEFORE INSERT ON {table} WHEN NEW.note LIKE {mark} "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        ]
        plain["check"] = plain["not null column"]
        plain["swallowing trigger"] = [
            (
                f"CREATE TRIGGER judge_swallow BEFORE INSERT ON {table} WHEN NEW.note LIKE {mark} "
                "BEGIN SELECT RAISE(IGNORE); END"
            )
        ]
        plain["changing trigger"] = [
            (
                f"CREATE TRIGGER judge_change AFTER INSERT ON {table} BEGIN "
                f"UPDATE {table} SET note = 'changed' "
                f"WHERE rowid = NEW.rowid AND note LIKE {mark}; END"
            )
        ]
        plain["foreign key"] = plain["unique index"]
    elif kind == "postgres":
        function = (
            "CREATE OR REPLACE FUNCTION public.judge_deed() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN IF NEW.note LIKE {mark} THEN {then}; END IF; RETURN NEW; END $$"
        )
        trigger = (
            f"CREATE TRIGGER judge_deed BEFORE INSERT OR UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION public.judge_deed()"
        )
        plain["check"] = [f"ALTER TABLE {table} ADD CHECK (note NOT LIKE {mark})"]
        plain["swallowing trigger"] = [function.format(mark=mark, then="RETURN NULL"), trigger]
        plain["changing trigger"] = [
            function.format(mark=mark, then="NEW.note = 'changed'"),
            trigger,
        ]
        plain["foreign key"] = plain["check"]
    else:
        plain["check"] = [f"ALTER TABLE {table} ADD CHECK (note NOT LIKE {mark})"]
        plain["swallowing trigger"] = plain["changing trigger"] = [
            (
                f"CREATE TRIGGER judge_deed BEFORE INSERT ON {table} FOR EACH ROW "
                f"SET NEW.note = IF(NEW.note LIKE {mark}, 'changed', NEW.note)"
            )
        ]
        plain["foreign key"] = plain["check"]
    return plain[deed]


def _text(front: Front, key: int) -> str:
    """Returns a column that holds every text; `key`: of a key of so many columns."""
    if isinstance(front, Path):
        return "text NOT NULL" if key else "text"
    if in_mariadb(front):
        return (
            f"varchar({768 // key}) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL"
            if key
            else "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
        )
    return 'text COLLATE "C" NOT NULL' if key else "text"


@contextmanager
def built(servers: Servers, world: World, folder: Path, package: Path | None) -> Iterator[Built]:
    """Makes the world, and takes it away again."""
    name = f"w{uuid.uuid4().hex[:10]}"
    server = servers.postgres(world.version)
    with ExitStack() as stack:
        source = stack.enter_context(_database(server, name, world.encoding, [name]))
        front, front_admin = stack.enter_context(_front(servers, world, name))
        place = Built(
            folder, source, servers.kafka.bootstrap, name, tables=(), front=front,
            sections=_sections(servers, world, source, front, stack), world=world,
            package=package, front_admin=front_admin,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        yield place


def _sections(
    servers: Servers, world: World, source: str, front: str | None, stack: ExitStack
) -> dict[str, dict[str, object]]:
    """Returns settings of the configuration: lines through proxies where parameters are dropped."""
    found: dict[str, dict[str, object]] = {
        "kafka": {"client": world.client, "partitions": 2},
        "source": {"heartbeat_seconds": 0.5},
    }
    port = int(str(conninfo_to_dict(source)["port"]))
    if "source" in world.drops:
        found["source"]["port"] = stack.enter_context(Pooler(HOST, port)).port
    if "front" in world.drops and front is not None:
        line = stack.enter_context(Pooler(HOST, port))
        found["front"] = {"url": front_url(make_conninfo(front, port=line.port))}
    return found


def settle(servers: Servers, place: Built, stack: ExitStack, role: bool) -> None:
    """Sets what the world says has been set, of the agent's role at the source or of all the rest.

    What is set of MariaDB is taken back in the end.
    """
    world = place.world
    if (world.at_source.place == "role") == role:
        database = str(conninfo_to_dict(place.source)["dbname"])
        _set(servers.postgres(world.version), world.at_source, place.name, database)
    if role:
        return
    if world.front == "postgres":
        given = conninfo_to_dict(str(place.front))
        server = servers.postgres(world.version)
        _set(server, world.at_front, str(given["user"]), str(given["dbname"]))
    if world.front == "mariadb" and world.at_front.values:
        _set_globally(servers, world.at_front.values, stack)


def _set_globally(servers: Servers, values: Mapping[str, str], stack: ExitStack) -> None:
    """Sets MariaDB's settings for all sessions; only one world at a time may."""
    address = servers.mariadb().url
    stack.enter_context(servers.globals)
    for name, value in values.items():
        ((before,),) = execute(address, f"SELECT @@GLOBAL.{name}")
        back = f"'{before}'" if isinstance(before, str) else before
        stack.callback(execute, address, f"SET GLOBAL {name} = {back}")
        execute(address, f"SET GLOBAL {name} = {value}")


def _set(server: PostgresServer, settings: Settings, role: str, database: str) -> None:
    whom = sql.Identifier(role if settings.place == "role" else database)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for name, value in settings.values.items():
            connection.execute(
                sql.SQL("ALTER {} {} SET {} = {}").format(
                    sql.SQL(settings.place.upper()),
                    whom,
                    sql.Identifier(name.lower()),
                    _setting(name, value),
                )
            )


def _setting(name: str, value: str) -> sql.Composable:
    listed = name in ("DateStyle", "search_path")
    return sql.SQL(", ").join(map(sql.Literal, value.split(", "))) if listed else sql.Literal(value)


@contextmanager
def _database(
    server: PostgresServer, name: str, encoding: str, roles: Sequence[str], owner: str | None = None
) -> Iterator[str]:
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        if owner:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(owner)))
            create += f" OWNER {_name(owner)}"
        connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
    try:
        yield make_conninfo(server.dsn(name), client_encoding="UTF8")
    finally:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            eventually(
                lambda: slots_dropped(connection, name), what=f"the slots of {name} are gone"
            )
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))
            for role in roles:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@contextmanager
def _front(servers: Servers, world: World, name: str) -> Iterator[tuple[str | None, str]]:
    """Yields the front end as the agent's role has it, and as its administrator has it."""
    if world.front == "sqlite":
        yield None, ""
    elif world.front == "mariadb":
        with servers.mariadb().fresh_database() as url:
            address = servers.mariadb().url.set(database=make_url(url).database)
            yield url, address.render_as_string(hide_password=False)
    else:
        role = f"{name}_front"
        server = servers.postgres(world.version)
        with _database(server, role, world.front_encoding, [role], role) as admin:
            yield make_conninfo(admin, user=role), admin


def _person(value: str | int | bool) -> str:
    """Returns a value of the configuration as PostgreSQL may be given it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


__all__ = ["JOURNAL", "RESOURCE", "Built", "Servers", "built", "settle", "type_of"]
