"""The agent's own tables in the front-end database; all names begin with sync_agent_."""

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

metadata = MetaData()
_blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_text = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_OPTIONS: dict[
    str, Any
] = {  # names differ by case, and a transaction can be rolled back, whatever the server's defaults are
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {
        "engine": "InnoDB",
        "default_charset": "utf8mb4",
        "collate": "utf8mb4_bin",
    }.items()
}


def _per_key(name: str, *further: Column[Any]) -> Table:
    """A table that holds rows per resource and key."""
    own = (
        Column("name", String(100), primary_key=True),
        # Of the key, which may be longer than a key column of some databases
        Column("digest", String(32), primary_key=True),
        # JSON array; in sync_agent_topic the JSON object that the topic has
        Column("row_key", _text, nullable=False),
    )
    return Table(name, metadata, *own, *further, **_OPTIONS)


# One row: who this agent is, where the stream stands, the counters. Every front-end transaction updates it `WHERE epoch = ours`.
state = Table(
    "sync_agent_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Also the Kafka transactional.id; made by init
    Column("agent_uuid", String(36), nullable=False),
    Column("agent_name", String(63), nullable=False),
    Column("source_id", String(200), nullable=False),  # part of every event id
    Column("system_id", String(40), nullable=False),
    Column("timeline", BigInteger, nullable=False),
    Column("slot", String(63), nullable=False),
    Column("epoch", BigInteger, nullable=False),  # +1 at each opening by a capture process
    Column("nonce", String(36), nullable=False),  # of the running service; tells a clone
    Column("initialised", SmallInteger, nullable=False),  # 1 when init has come to its end
    # Durable and applied; never acknowledged past it
    Column("position", String(40), nullable=False),
    Column("position_time_us", BigInteger, nullable=False),  # of the last commit or heartbeat
    # End of the last applied commit; '' before the first
    Column("commit_position", String(40), nullable=False),
    Column("commit_xid", BigInteger, nullable=False),
    Column("commit_time_us", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),  # last event over all topics
    Column("batch", BigInteger, nullable=False),  # last outbox batch
    **_OPTIONS,
)

# One row per resource: its state and counters.
resource = Table(
    "sync_agent_resource",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("state", String(20), nullable=False),  # copying, live or suspended
    Column("code", String(40), nullable=False),  # error code of a suspension
    Column("details", _text, nullable=False),  # JSON: what fills the error's sentence
    Column("generation", BigInteger, nullable=False),  # of the topic
    Column("seq", BigInteger, nullable=False),  # last event of the topic in this generation
    Column("event_time_us", BigInteger, nullable=False),  # commit time of that event
    **_OPTIONS,
)

# Batches of framed events and heartbeats; a batch larger than 1 MiB (one large event) is stored in parts.
outbox = Table(
    "sync_agent_outbox",
    metadata,
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("first_number", BigInteger, nullable=False),
    # First_number - 1 when the batch holds no event
    Column("last_number", BigInteger, nullable=False),
    Column("time_us", BigInteger, nullable=False),  # commit time of its first transaction
    Column("payload", _blob, nullable=False),
    **_OPTIONS,
)

# One row, written by the publisher only: a late lower bound of what Kafka holds.
published = Table(
    "sync_agent_published",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("event_id", String(32), nullable=False),
    Column("batch", BigInteger, nullable=False),
    Column("position", String(40), nullable=False),
    Column("time_us", BigInteger, nullable=False),  # of the last commit or heartbeat published
    **_OPTIONS,
)

# One row per copying table: how far it is (front.base.Copy as JSON).
copies = Table(
    "sync_agent_copy",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("progress", _text, nullable=False),
    **_OPTIONS,
)

# Keys whose rows must be read again from the source.
holes = _per_key("sync_agent_hole")

# Keys whose rows are too large for Kafka: the front-end table has them, the topic has not. `told` is 1 where the topic may hold an older row of the key.
withheld = _per_key("sync_agent_withheld", Column("told", SmallInteger, nullable=False))

# Keys a topic was found to hold when it is to be published anew: those that no row has any more get their deletes.
topic_keys = _per_key("sync_agent_topic")

# Rows that share a key until their source transaction is complete (front.occupancy), `held` as JSON; empty between transactions.
occupants = _per_key("sync_agent_occupant", Column("held", _text, nullable=False))

# What the source's catalogue said of each table when it was last copied or compared (connectors.base.Fingerprint as JSON).
fingerprints = Table(
    "sync_agent_fingerprint",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("parts", _text, nullable=False),
    **_OPTIONS,
)

# What commands ask of the running service, and its answers.
requests = Table(
    "sync_agent_request",
    metadata,
    Column("id", String(36), primary_key=True),
    # Resume, reconcile, verify, retry, republish; suspend: by the publisher
    Column("kind", String(20), nullable=False),
    Column("resource", String(100), nullable=False),
    Column("allow_deletes", SmallInteger, nullable=False),
    Column("state", String(20), nullable=False),  # asked, running, done or failed
    Column("report", _text, nullable=False),  # JSON
    Column("asked_us", BigInteger, nullable=False),
    **_OPTIONS,
)

# Transactions applied lately, per front-end transaction, until every new snapshot of the source sees them (hand-over).
applied = Table(
    "sync_agent_applied",
    metadata,
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("xids", _text, nullable=False),  # JSON array of 32-bit xids
    **_OPTIONS,
)
