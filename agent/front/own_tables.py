"""The agent's own tables in a SQL front end, as `init` makes them and commands change them.

The service itself calls only `adopt`, when it opens the front end.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from agent.front import downgrade, layout
from agent.front.base import Copy, copy_of
from agent.front.connection import FrontConnection
from agent.front.migration import migrate, pairs
from agent.front.schema import VERSION, AgentTables

# What is stored of the copy of a table that publishes every row again
_REPUBLISH = json.dumps(Copy(republish=True)._asdict())

# The columns of a resource that is copied from the beginning
_COPYING = {
    "state": "copying",
    "code": "",
    "details": "{}",
}

# The rows of a new resource, without name and topic, and of what a new agent has published
_NEW_RESOURCE = {
    **_COPYING,
    "generation": 1,
    "seq": 0,
    "event_time_us": 0,
}
_NOTHING_PUBLISHED = {
    "id": 1,
    "number": 0,
    "event_id": "",
    "batch": 0,
    "position": "",
    "time_us": 0,
}


class OwnTables(FrontConnection):
    """Makes the agent's own tables, and changes what they hold of identity and position."""

    # ---- tables

    def adopt(self, connection: Connection) -> None:
        """Brings the agent's tables to this version, under the lock. Commits.

        Raises NewerVersion.
        """
        with self.guarded():
            migrate(connection, self.agent, self)
            self.own = AgentTables(self.agent)

    def step_back(self) -> None:
        """Gives the agent's tables the form of 0.1.0, under the lock. Commits.

        Raises InitRefused where tables of that form belong to another agent.
        """
        with self.guarded(), self.engine.connect() as connection:
            downgrade.step_back(connection, self.own, self)

    def rename(
        self,
        connection: Connection,
        agent: str,
        suffixes: Sequence[str],
    ) -> None:
        """See migration.Mover."""
        for before, after in pairs(agent, suffixes):
            connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")

    def drop_emptied(self, connection: Connection, name: str) -> None:
        """See migration.Mover."""
        connection.exec_driver_sql(f"DROP TABLE {name}")

    def initialise(self, identity: Mapping[str, object], topics: Mapping[str, str]) -> None:
        """Creates the agent's tables and rows that are missing. Commits.

        `identity` holds the columns of the state, `topics` one topic for each resource.
        """
        state = self.own.state
        resources = self.own.resource
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)

            initialised = connection.execute(select(state.c.id)).first()
            if initialised is None:
                connection.execute(insert(state), _first(identity))
                connection.execute(insert(self.own.published), _NOTHING_PUBLISHED)

            names = connection.execute(select(resources.c.name)).scalars()
            known = set(names)
            for name, topic in topics.items():
                if name not in known:
                    row = {"name": name, "topic": topic, **_NEW_RESOURCE}
                    connection.execute(insert(resources), row)

    # ---- settings

    def note_settings(self, noted: Mapping[str, str], replace: bool) -> None:
        """Stores what must stay of the settings (`init_settings.noted`). Commits.

        `replace`: also where something is stored already.
        """
        known = self.own.settings
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            before = layout.settings(connection, self.own)
            for name, value in noted.items():
                if replace or name not in before:
                    row = {"name": name, "value": value}
                    connection.execute(delete(known).where(known.c.name == name))
                    connection.execute(insert(known), row)

    def noted(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns what `init` has stored of the settings, and the topic of each resource."""
        resources = self.own.resource
        topic_of = select(resources.c.name, resources.c.topic)
        with self.guarded(), self.engine.connect() as connection:
            rows = connection.execute(topic_of).all()
            settings = layout.settings(connection, self.own)

        topics = {str(name): str(topic) for name, topic in rows}
        return settings, topics

    # ---- state

    def stored_state(self) -> Mapping[str, Any] | None:
        """Returns the state row with `identity` as a mapping; None: `initialise` has not run.

        Reads tables of an older version as well. Raises NewerVersion.
        """
        with self.guarded(), self.engine.connect() as connection:
            self.own = layout.find(connection, self.agent)
            if "state" in self.own.missing:
                return None
            row = layout.state_row(connection, self.own)

        if row is None:
            return None
        identity = json.loads(row["identity"])
        return {**row, "identity": identity}

    def update_state(self, **values: object) -> None:
        """Changes the state row during `init`; `identity` is a mapping. Commits."""
        changed = update(self.own.state).values(**_as_text(values))
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(changed)

    def follow(
        self,
        identity: Mapping[str, object],
        position: str,
        time_us: int,
        token: str = "",
    ) -> None:
        """Lets the stream begin at another place or server; every table is copied again. Commits.

        What was known of the stream before is forgotten.
        """
        start = {
            "identity": json.dumps(identity),
            "position": position,
            "token": token,
            "position_time_us": time_us,
            "commit_position": "",
            "commit_transaction": 0,
            "commit_time_us": 0,
        }
        resources = self.own.resource
        copies = self.own.copies
        live = resources.c.state == "live"
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)
            connection.execute(update(self.own.state).values(**start))

            republished = []
            for name, progress in connection.execute(select(copies)).all():
                copy = copy_of(json.loads(progress))
                if copy.republish:
                    republished.append(name)

            for forgotten in (self.own.applied, copies, self.own.holes):
                connection.execute(delete(forgotten))
            for name in republished:
                row = {"name": name, "progress": _REPUBLISH}
                connection.execute(insert(copies), row)

            copying = update(resources).where(live).values(state="copying")
            connection.execute(copying)

    # ---- copies and generations

    def copy_again(self, names: Collection[str]) -> None:
        """Makes these tables copying from the beginning. Commits."""
        resources = self.own.resource
        copies = self.own.copies
        with self.guarded(), self.engine.begin() as connection:
            connection.execute(delete(copies).where(copies.c.name.in_(names)))

            named = resources.c.name.in_(names)
            connection.execute(update(resources).where(named).values(**_COPYING))

    def begin_generations(
        self,
        epoch: int,
        number: int,
        event: str,
        generations: Mapping[str, int],
    ) -> None:
        """Goes on from what Kafka holds: empties the outbox, publishes every table again.

        Each table is published in a generation above the one that `generations` has for its topic.
        Commits.
        """
        state = self.own.state
        published = self.own.published
        resources = self.own.resource
        topics = select(resources.c.name, resources.c.topic, resources.c.generation)
        with self.guarded(), self.engine.begin() as connection:
            self.own.metadata.create_all(connection)

            batch = connection.execute(select(state.c.batch)).scalar_one()
            connection.execute(update(state).values(epoch=epoch, number=number))
            reached = {"number": number, "event_id": event, "batch": batch}
            connection.execute(update(published).values(**reached))

            for emptied in (self.own.outbox, self.own.copies):
                connection.execute(delete(emptied))

            rows = connection.execute(topics).all()
            for name, topic, generation in rows:
                highest = max(generation, generations.get(topic, 0))
                self._republish(connection, name, highest + 1)

    def begin_above(self, resource: str, generation: int) -> int:
        """Begins a generation of a topic above those of another agent, which has filled it.

        Every row is published in it. Commits, and returns it.
        """
        resources = self.own.resource
        copies = self.own.copies
        current = select(resources.c.generation).where(resources.c.name == resource)
        with self.guarded(), self.engine.begin() as connection:
            now = connection.execute(current).scalar_one()
            new = int(max(now, generation)) + 1
            connection.execute(delete(copies).where(copies.c.name == resource))
            self._republish(connection, resource, new)
        return new

    def _republish(
        self,
        connection: Connection,
        resource: str,
        generation: int,
    ) -> None:
        """Begins a generation of a resource that has no copy: every row is published again."""
        resources = self.own.resource
        begun = (
            update(resources)
            .where(resources.c.name == resource)
            .values(generation=generation, seq=0, **_COPYING)
        )
        connection.execute(begun)

        copy = insert(self.own.copies).values(name=resource, progress=_REPUBLISH)
        connection.execute(copy)


def _as_text(state: Mapping[str, object]) -> dict[str, object]:
    """Returns columns of the state, with the identity as its text."""
    if "identity" not in state:
        return dict(state)
    identity = json.dumps(state["identity"])
    return {**state, "identity": identity}


def _first(identity: Mapping[str, object]) -> dict[str, object]:
    """Returns the state row of a new agent."""
    return {"id": 1, "version": VERSION, "token": "", **_as_text(identity)}


def text_digest(text: str) -> str:
    """Returns the digest of a text that is too long for a key column."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    return digest.hexdigest()
