"""Who writes a front-end table: the lists that all agents of a database keep of their tables.

Names are compared as that database compares them. Each agent also notes what it has ever written,
so that what it no longer shares can be named.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, column, delete, insert, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import quoted_name

from agent.errors import FrontTableTaken
from agent.front.connection import FrontConnection
from agent.front.schema import table_name
from agent.resource import Target

# The names of the lists of all agents, as LIKE takes it, with ! before what stands for itself
LISTS = "sync!_agent!_%!_target"


class Place(NamedTuple):
    """A table as its database knows it: equal where the database takes two names for one."""

    schema: str
    table: str


class TableOwners(FrontConnection):
    """Keeps two agents from writing one table."""

    # ---- what a database does in its own way

    @abstractmethod
    def place(self, connection: Connection, target: Target) -> Place:
        """Returns where a front-end table lies, or will lie."""

    @abstractmethod
    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """Returns the lists of agents that may be read.

        Each with its schema (None: nothing but the name is needed), its name, and whether it lies
        where ours do.
        """

    def folded(self, connection: Connection, place: Place) -> Place:
        """Returns a place as the database compares it."""
        return place

    @abstractmethod
    def quote(self, name: str) -> str:
        """Returns an identifier, always quoted."""

    def place_name(self, place: Place) -> str:
        """Returns a place as statements name it."""
        table = self.quote(place.table)
        if self.engine.dialect.name == "sqlite":
            return table
        return f"{self.quote(place.schema)}.{table}"

    # ---- the lists

    def claim(self, target: Target) -> None:
        """See FrontTables.claim.

        It looks twice: two agents may claim one table at the same moment.
        """
        self.refuse_taken(target)
        targets = self.own.targets
        with self.guarded(), self.engine.begin() as connection:
            place = self.place(connection, target)
            self._remember(connection, target.resource)

            listed = {
                "name": target.resource,
                "schema_name": place.schema,
                "table_name": place.table,
            }
            connection.execute(delete(targets).where(targets.c.name == target.resource))
            connection.execute(insert(targets), listed)

            names = [column.name for column in target.columns]
            names += target.technical.values()
            details = _details(place, names)
            self._note_written(connection, target.resource, details)

        try:
            self.refuse_taken(target)
        except FrontTableTaken:
            self.release(target.resource)
            raise

    def release(self, resource: str) -> None:
        """See FrontTables.release."""
        targets = self.own.targets
        with self.guarded(), self.engine.begin() as connection:
            self._remember(connection, resource)
            connection.execute(delete(targets).where(targets.c.name == resource))

    def refuse_taken(self, target: Target) -> None:
        """Raises FrontTableTaken where another agent lists the table. Writes nothing."""
        with self.guarded(), self.engine.connect() as connection:
            place = self.place(connection, target)
            wanted = self.folded(connection, place)
            others = self.others(connection)

        other = others.get(wanted)
        if other is not None:
            raise FrontTableTaken(resource=target.resource, table=target.name, other=other)

    def others(self, connection: Connection) -> dict[Place, str]:
        """Returns the tables that other agents list, as the database compares them.

        Each with the name of its agent.
        """
        own = table_name(self.agent, "target")
        found: dict[Place, str] = {}
        for schema, name, here in self.lists(connection):
            if here and name == own:
                continue
            other = name.removeprefix("sync_agent_").removesuffix("_target")
            for place in self._listed(connection, schema, name):
                found[place] = other
        return found

    def _listed(
        self,
        connection: Connection,
        schema: str | None,
        name: str,
    ) -> set[Place]:
        """Returns the tables of one list; none where it may not be read."""
        rows = table(
            quoted_name(name, True),
            column("schema_name"),
            column("table_name"),
            schema=schema and quoted_name(schema, True),
        )
        places = select(rows.c.schema_name, rows.c.table_name)
        try:
            found = connection.execute(places).all()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            connection.rollback()
            return set()

        listed = set()
        for row in found:
            place = Place(*row)
            listed.add(self.folded(connection, place))
        return listed

    # ---- what was written, also before it was taken out of the configuration

    def note_made(self, target: Target) -> None:
        """Notes that this agent has made a table that it has claimed. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            place = self.place(connection, target)
            details = _details(place, [], made=1)
            self._note_written(connection, target.resource, details)

    def forget_written(
        self,
        resource: str,
        place: Place,
        columns: Sequence[str],
    ) -> None:
        """Notes that columns, or the whole table where none is named, are gone. Commits."""
        with self.guarded(), self.engine.begin() as connection:
            details = self._known_written(connection, resource, place)
            if not columns:
                details = None
            if details is not None:
                known = details["columns"]
                details["columns"] = [name for name in known if name not in columns]
            self._keep_written(connection, resource, place, details)

    def written_before(self, connection: Connection, resource: str) -> dict[str, Any] | None:
        """Returns what is known of a table that an earlier version has written.

        That version noted the place of the table, and the columns shared last, but not who made
        it. None where nothing is known.
        """
        listed = self._place_listed(connection, resource)
        shared = self._shared_last(connection, resource)
        if shared is None:
            return None if listed is None else _details(listed, [])

        place, columns = shared
        if listed is not None and place != listed:
            # The columns shared last are those of another table
            return _details(listed, [])
        return _details(place, columns)

    def _place_listed(self, connection: Connection, resource: str) -> Place | None:
        """Returns the place of a table that this agent lists; None where it does not."""
        if "target" in self.own.missing:
            return None

        targets = self.own.targets
        place = select(targets.c.schema_name, targets.c.table_name)
        row = connection.execute(place.where(targets.c.name == resource)).one_or_none()
        return None if row is None else Place(*row)

    def _shared_last(
        self, connection: Connection, resource: str
    ) -> tuple[Place, Sequence[str]] | None:
        """Returns table and columns shared when the resource's fingerprint was stored."""
        prints = self.own.fingerprints
        stored = select(prints.c.parts).where(prints.c.name == resource)
        parts = connection.execute(stored).scalar_one_or_none()
        if not parts:
            return None
        shared = json.loads(parts).get("shared", "null")
        values = json.loads(shared)
        if values is None:
            return None

        _, columns, _, name = values
        schema, _, table = name.rpartition(".")
        target = Target(resource, schema or None, table, (), (), False, {})
        return self.place(connection, target), columns

    def _remember(self, connection: Connection, resource: str) -> None:
        """Notes here what an earlier version has written, which noted it in other places."""
        before = self.written_before(connection, resource)
        if before is not None:
            self._note_written(connection, resource, before)

    def _note_written(
        self,
        connection: Connection,
        resource: str,
        details: Mapping[str, Any],
    ) -> None:
        """Adds to what is known as written into a table."""
        place = Place(details["schema"], details["table"])
        known = self._known_written(connection, resource, place) or {}

        columns = dict.fromkeys([*known.get("columns", ()), *details["columns"]])
        made = max(known.get("made", 0), details["made"])
        now = {**details, "columns": list(columns), "made": made}
        if now != known:
            self._keep_written(connection, resource, place, now)

    def _known_written(
        self,
        connection: Connection,
        resource: str,
        place: Place,
    ) -> dict[str, Any] | None:
        """Returns what is known as written into a table; None: nothing."""
        rows = self.own.written
        mine = rows.c.name == resource, rows.c.digest == _digest(place)
        stored = connection.execute(select(rows.c.details).where(*mine)).scalar_one_or_none()
        if stored is None:
            return None
        details: dict[str, Any] = json.loads(stored)
        return details

    def _keep_written(
        self,
        connection: Connection,
        resource: str,
        place: Place,
        details: Mapping[str, Any] | None,
    ) -> None:
        """Stores what was written into a table; None: nothing that is still there."""
        rows = self.own.written
        digest = _digest(place)
        mine = rows.c.name == resource, rows.c.digest == digest
        connection.execute(delete(rows).where(*mine))

        if details is not None:
            text = json.dumps(details, ensure_ascii=False)
            row = {"name": resource, "digest": digest, "details": text}
            connection.execute(insert(rows), row)


def _details(place: Place, columns: Sequence[str], made: int = 0) -> dict[str, Any]:
    """Returns what is stored of a table that was written; `made` is 1 where this agent made it."""
    return {
        "schema": place.schema,
        "table": place.table,
        "columns": columns,
        "made": made,
    }


def _digest(place: Place) -> str:
    """Returns the digest of a place, which is too long for a key column."""
    text = json.dumps(place)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    return digest.hexdigest()
