"""The agent's own tables in the front-end database: each agent has its own, named after it.

See docs/decisions/own-tables.md. Whoever changes a table here raises VERSION and adds a step to
`agent.front.migration`.
"""

import hashlib
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

from agent.front.first_version import source_columns
from agent.front.statements import Statements

_blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_text = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

# Names differ by case, and a transaction can be rolled back, whatever the server's defaults are.
_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_default_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_default_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}

# Of what is stored. The tables of 0.1.0 have no number and count as 1.
VERSION = 5

# Since this version the state has `identity`, `token` and `version`
WITH_IDENTITY = 5

# The longest name of an agent that fits, with everything else of a table's name, into the 63 bytes
# of a name in PostgreSQL
_LONGEST = 40
_STEM = "sync_agent_"
SUFFIXES = (
    "state",
    "resource",
    "target",
    "outbox",
    "published",
    "copy",
    "hole",
    "withheld",
    "refused",
    "topic",
    "occupant",
    "fingerprint",
    "request",
    "applied",
    "written",
    "setting",
    "host",
)


def short(agent: str) -> str:
    """Returns the agent's name as the names of its tables and of its lock carry it.

    A long one ends in a hash.
    """
    if len(agent) <= _LONGEST:
        return agent
    digest = hashlib.blake2b(agent.encode(), digest_size=4).hexdigest()
    return f"{agent[: _LONGEST - 9]}_{digest}"


def table_name(agent: str, suffix: str) -> str:
    """Returns the name of one of an agent's tables."""
    return f"{_STEM}{short(agent)}_{suffix}"


def former_name(suffix: str) -> str:
    """Returns the name it had before 0.2, when a front end belonged to one agent."""
    return f"{_STEM}{suffix}"


class AgentTables:
    """The tables of one agent, as a version of the agent has made them.

    `names`: those that still have another name, by suffix. `missing`: those that are not there.
    """

    def __init__(
        self,
        agent: str,
        version: int = VERSION,
        names: Mapping[str, str] | None = None,
        missing: Collection[str] = (),
    ) -> None:
        self.agent = agent
        self.version = version
        self.names = dict(names or {})
        self.missing = frozenset(missing)
        self.metadata = MetaData()
        self._add_state()
        self._add_resources()
        self._add_outbox()
        self._add_copies()
        self._add_requests()
        self._add_hosts()

    @cached_property
    def statements(self) -> Statements:
        """The statements that run again and again."""
        return Statements(
            self.state,
            self.resource,
            self.outbox,
            self.applied,
            self.requests,
        )

    def _table(self, suffix: str, *columns: Column[Any]) -> Table:
        return Table(self._name(suffix), self.metadata, *columns, **_OPTIONS)

    def _name(self, suffix: str) -> str:
        return self.names.get(suffix) or table_name(self.agent, suffix)

    def table(self, suffix: str) -> Table:
        """Returns one of the tables."""
        return self.metadata.tables[self._name(suffix)]

    @property
    def of_the_first_version(self) -> bool:
        """Whether the state still has the name that 0.1.0 gave it."""
        return self.names.get("state") == former_name("state")

    def _per_key(self, suffix: str, *further: Column[Any]) -> Table:
        """A table that holds rows per resource and key."""
        own = (
            Column("name", String(100), primary_key=True),
            # Of the key, which may be longer than a key column of some databases
            Column("digest", String(32), primary_key=True),
            # JSON array; in `topic_keys` the JSON object that the topic has
            Column("row_key", _text, nullable=False),
        )
        return self._table(suffix, *own, *further)

    def _add_state(self) -> None:
        """Who this agent is, and where it stands."""
        # One row: who this agent is, where the stream stands, the counters. Every front-end
        # transaction updates it `WHERE epoch = ours`.
        self.state = self._table(
            "state",
            Column("id", SmallInteger, primary_key=True, autoincrement=False),
            # Also the Kafka transactional.id; made by init
            Column("agent_uuid", String(36), nullable=False),
            Column("agent_name", String(63), nullable=False),
            # Part of every event id
            Column("source_id", String(200), nullable=False),
            *self._source_columns(),
            # +1 at each opening by a capture process
            Column("epoch", BigInteger, nullable=False),
            # Of the running service; tells a clone
            Column("nonce", String(36), nullable=False),
            # 1 when init has come to its end
            Column("initialised", SmallInteger, nullable=False),
            # Durable and applied; never acknowledged past it
            Column("position", String(40), nullable=False),
            # Of the last commit or heartbeat
            Column("position_time_us", BigInteger, nullable=False),
            # End of the last applied commit; '' before the first
            Column("commit_position", String(40), nullable=False),
            Column("commit_xid", BigInteger, key="commit_transaction", nullable=False),
            Column("commit_time_us", BigInteger, nullable=False),
            # Last event over all topics
            Column("number", BigInteger, nullable=False),
            # Last outbox batch
            Column("batch", BigInteger, nullable=False),
        )

    def _source_columns(self) -> list[Column[Any]]:
        """What the state keeps for the source."""
        if self.version < WITH_IDENTITY:
            return source_columns()
        return [
            # Of this database's layout. Every later version has this column, too.
            Column("version", Integer, nullable=False),
            # JSON that the source wrote at `init`; only the source reads it
            Column("identity", _text, nullable=False),
            # What the source knows `position` by, '' where it needs no more than that
            Column("token", _text, nullable=False),
        ]

    def _add_resources(self) -> None:
        """The shared tables."""
        # One row per resource: its state and counters.
        self.resource = self._table(
            "resource",
            Column("name", String(100), primary_key=True),
            Column("topic", String(249), nullable=False),
            # Copying, live or suspended
            Column("state", String(20), nullable=False),
            # Error code of a suspension
            Column("code", String(40), nullable=False),
            # JSON: what fills the error's sentence
            Column("details", _text, nullable=False),
            # Of the topic
            Column("generation", BigInteger, nullable=False),
            # Last event of the topic in this generation
            Column("seq", BigInteger, nullable=False),
            # Commit time of that event
            Column("event_time_us", BigInteger, nullable=False),
        )

        # One row per front-end table that this agent writes, so that no other agent takes it.
        self.targets = self._table(
            "target",
            Column("name", String(100), primary_key=True),
            # As the database keeps them; compared as it compares names
            Column("schema_name", String(200), nullable=False),
            Column("table_name", String(200), nullable=False),
        )

        # One row per resource and table that was ever written for it, so that what is no longer
        # shared can be named.
        self.written = self._table(
            "written",
            Column("name", String(100), primary_key=True),
            # Of the table's schema and name, which are too long for a key
            Column("digest", String(32), primary_key=True),
            # JSON: schema, table, columns, made (1: this agent has made the table)
            Column("details", _text, nullable=False),
        )

        # Settings as `init` found them, which must stay: another value would lead to other topics,
        # or another publication.
        self.settings = self._table(
            "setting",
            Column("name", String(100), primary_key=True),
            Column("value", String(249), nullable=False),
        )

    def _add_outbox(self) -> None:
        """What waits for Kafka, and what Kafka holds."""
        # Batches of framed events and heartbeats; a batch larger than 1 MiB (one large event) is
        # stored in parts.
        self.outbox = self._table(
            "outbox",
            Column("batch", BigInteger, primary_key=True, autoincrement=False),
            Column("part", Integer, primary_key=True, autoincrement=False),
            Column("first_number", BigInteger, nullable=False),
            # First_number - 1 when the batch holds no event
            Column("last_number", BigInteger, nullable=False),
            # Commit time of its first transaction
            Column("time_us", BigInteger, nullable=False),
            Column("payload", _blob, nullable=False),
        )

        # One row, written by the publisher only: a late lower bound of what Kafka holds.
        self.published = self._table(
            "published",
            Column("id", SmallInteger, primary_key=True, autoincrement=False),
            Column("number", BigInteger, nullable=False),
            Column("event_id", String(32), nullable=False),
            Column("batch", BigInteger, nullable=False),
            Column("position", String(40), nullable=False),
            # Of the last commit or heartbeat published
            Column("time_us", BigInteger, nullable=False),
        )

    def _add_copies(self) -> None:
        """How far copies are, and what they and the stream have to remember of rows."""
        # One row per copying table: how far it is (front.base.Copy as JSON).
        self.copies = self._table(
            "copy",
            Column("name", String(100), primary_key=True),
            Column("progress", _text, nullable=False),
        )

        # Keys whose rows must be read again from the source.
        self.holes = self._per_key("hole")

        # Keys whose rows are too large for Kafka: the front-end table has them, the topic has not.
        # `published` is 1 where the topic may hold an older row of the key.
        published = Column("told", SmallInteger, key="published", nullable=False)
        self.withheld = self._per_key("withheld", published)

        # Keys whose rows the front-end table refuses.
        # `published` is the digest of the row that was published last, '' where there is none.
        self.refused = self._per_key(
            "refused",
            Column("code", String(200), nullable=False),
            Column("since_us", BigInteger, nullable=False),
            Column("told", String(32), key="published", nullable=False),
            # The key as events have it
            Column("shown", _text, nullable=False),
        )

        # Keys a topic was found to hold when it is to be published as a new topic: those that no
        # row has any more get their deletes.
        self.topic_keys = self._per_key("topic")

        # Rows that share a key until their source transaction is complete, `held` as JSON; empty
        # between transactions.
        self.shared_keys = self._per_key("occupant", Column("held", _text, nullable=False))

        # What the source's catalogue said of each table when it was last copied or compared
        # (connectors.base.Fingerprint as JSON).
        self.fingerprints = self._table(
            "fingerprint",
            Column("name", String(100), primary_key=True),
            Column("parts", _text, nullable=False),
        )

    def _add_requests(self) -> None:
        """What is asked, and what a new snapshot may not see yet."""
        # What commands ask of the running service, and its answers.
        self.requests = self._table(
            "request",
            Column("id", String(36), primary_key=True),
            # Resume, reconcile, verify, retry, republish; suspend: by the publisher
            Column("kind", String(20), nullable=False),
            Column("resource", String(100), nullable=False),
            Column("allow_deletes", SmallInteger, nullable=False),
            # Asked, running, done or failed
            Column("state", String(20), nullable=False),
            # JSON that the service answers
            Column("report", _text, nullable=False),
            Column("asked_us", BigInteger, nullable=False),
        )

        # Transactions applied lately, per front-end transaction, until every new snapshot of the
        # source sees them (hand-over).
        self.applied = self._table(
            "applied",
            Column("batch", BigInteger, primary_key=True, autoincrement=False),
            # JSON array of their numbers
            Column("xids", _text, key="transactions", nullable=False),
        )

    def _add_hosts(self) -> None:
        """Which hosts run this agent, where a second one stands by."""
        # One row per running service. Where nobody stands by there are no rows, and in a front end
        # of an older version no table: whoever needs it makes it.
        self.hosts = self._table(
            "host",
            # Of the service
            Column("nonce", String(36), primary_key=True),
            Column("host", String(255), nullable=False),
            # Active or standby
            Column("role", String(10), nullable=False),
            # Server sessions of the active one: that which holds the lock, and that of its signs
            # of life; 0: none
            Column("session", BigInteger, nullable=False),
            Column("lease", BigInteger, nullable=False),
            # How the business database names the session that reads its log; '': there is none
            Column("reader", String(40), nullable=False),
            # By the clock of the front-end server
            Column("since_us", BigInteger, nullable=False),
            Column("seen_us", BigInteger, nullable=False),
        )
