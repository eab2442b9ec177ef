"""The agent's own tables in the front-end database; all names begin with sync_agent_."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, SmallInteger, String, Table, Text
from sqlalchemy.dialects import mysql

metadata = MetaData()
_blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

# One row: who this agent is, where the stream stands, the counters. Every front-end transaction updates it `WHERE epoch = ours`.
state = Table(
    "sync_agent_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("agent_uuid", String(36), nullable=False),  # also the Kafka transactional.id; made by init
    Column("agent_name", String(63), nullable=False),
    Column("source_id", String(200), nullable=False),  # part of every event id
    Column("system_id", String(40), nullable=False),
    Column("timeline", BigInteger, nullable=False),
    Column("slot", String(63), nullable=False),
    Column("epoch", BigInteger, nullable=False),  # +1 at each opening by a capture process
    Column("nonce", String(36), nullable=False),  # of the running service; tells a clone
    Column("initialised", SmallInteger, nullable=False),  # 1 when init has come to its end
    Column("position", String(40), nullable=False),  # durable and applied; never acknowledged past it
    Column("position_time_us", BigInteger, nullable=False),  # of the last commit or heartbeat
    Column("commit_position", String(40), nullable=False),  # end of the last applied commit; '' before the first
    Column("commit_xid", BigInteger, nullable=False),
    Column("commit_time_us", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),  # last event over all topics
    Column("batch", BigInteger, nullable=False),  # last outbox batch
)

# One row per resource: its state and counters.
resource = Table(
    "sync_agent_resource",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("topic", String(249), nullable=False),
    Column("state", String(20), nullable=False),  # live or suspended
    Column("code", String(40), nullable=False),  # error code of a suspension
    Column("details", Text, nullable=False),  # JSON: what fills the error's sentence
    Column("generation", BigInteger, nullable=False),  # of the topic
    Column("seq", BigInteger, nullable=False),  # last event of the topic in this generation
    Column("event_time_us", BigInteger, nullable=False),  # commit time of that event
)

# Batches of framed events and heartbeats; a batch larger than 1 MiB (one large event) is stored in parts.
outbox = Table(
    "sync_agent_outbox",
    metadata,
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("first_number", BigInteger, nullable=False),
    Column("last_number", BigInteger, nullable=False),  # first_number - 1 when the batch holds no event
    Column("time_us", BigInteger, nullable=False),  # commit time of its first transaction
    Column("payload", _blob, nullable=False),
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
)

# Transactions applied lately, per front-end transaction, until every new snapshot of the source sees them (hand-over).
applied = Table(
    "sync_agent_applied",
    metadata,
    Column("batch", BigInteger, primary_key=True, autoincrement=False),
    Column("xids", Text, nullable=False),  # JSON array of 32-bit xids
)
