"""Whose a front-end table is: the lists that all agents of a database keep of theirs, and the names as that database compares them."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, column, delete, insert, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import quoted_name

from agent.errors import FrontTableTaken
from agent.front.own_tables import OwnTables
from agent.front.schema import table_name
from agent.resource import Target

# Of the lists of all agents, as LIKE takes it, with ! before what stands for itself.
LISTS = "sync!_agent!_%!_target"


class Place(NamedTuple):
    """A table as its database knows it: equal where the database takes two names for one."""

    schema: str
    table: str


class Claims(OwnTables):
    """Keeps two agents from writing one table."""

    @abstractmethod
    def place(self, connection: Connection, target: Target) -> Place:
        """Where a front-end table lies, or will lie."""

    @abstractmethod
    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """The agents' lists that may be read: schema (None: nothing but the name is needed), name, and whether it lies where ours do."""

    def folded(self, connection: Connection, place: Place) -> Place:
        """A place as the database compares it."""
        return place

    def refuse_taken(self, target: Target) -> None:
        """Raises FrontTableTaken where another agent lists the table. Writes nothing."""
        with self.guarded(), self.engine.connect() as connection:
            wanted = self.folded(connection, self.place(connection, target))
            own = table_name(self.agent, "target")
            for schema, name, here in self.lists(connection):
                if here and name == own:
                    continue
                if wanted in self._listed(connection, schema, name):
                    other = name.removeprefix("sync_agent_").removesuffix("_target")
                    raise FrontTableTaken(resource=target.resource, table=target.name, other=other)

    def _listed(self, connection: Connection, schema: str | None, name: str) -> set[Place]:
        rows = table(
            quoted_name(name, True),
            column("schema_name"),
            column("table_name"),
            schema=schema and quoted_name(schema, True),
        )
        try:
            found = connection.execute(select(rows.c.schema_name, rows.c.table_name)).all()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            connection.rollback()  # a list that may not be read
            return set()
        return {self.folded(connection, Place(*row)) for row in found}

    def claim(self, target: Target) -> None:
        """See Front.claim. It looks twice: two agents may claim one table at the same moment."""
        self.refuse_taken(target)
        targets = self.own.targets
        with self.guarded(), self.engine.begin() as connection:
            place = self.place(connection, target)
            connection.execute(delete(targets).where(targets.c.name == target.resource))
            connection.execute(
                insert(targets).values(
                    name=target.resource, schema_name=place.schema, table_name=place.table
                )
            )
        try:
            self.refuse_taken(target)
        except FrontTableTaken:
            self.release(target.resource)
            raise

    def release(self, resource: str) -> None:
        """See Front.release."""
        targets = self.own.targets
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(delete(targets).where(targets.c.name == resource))
