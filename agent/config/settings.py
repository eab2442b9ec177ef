"""Every setting of the agent, with its default, its bounds and one sentence for the person who sets it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.config import names
from agent.config.inconsistent import Finding, Inconsistent
from agent.config.secret import Secret
from agent.messages import mark

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
Positive = Annotated[int, Field(gt=0)]


class Model(BaseModel):
    """Strict: unknown keys and wrong types are errors, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceSettings(Model):
    """The unit's business database."""

    type: Annotated[Literal["postgres"], Field(description="Kind of source.")] = "postgres"
    host: Annotated[
        str,
        Field(
            description="Host name or address of the primary server, or the folder of its socket."
        ),
    ]
    port: Annotated[int, Field(ge=1, le=65535, description="TCP port.")] = 5432
    database: Annotated[
        str, Field(min_length=1, description="Database that holds the shared tables.")
    ]
    user: Annotated[
        str,
        Field(
            min_length=1,
            description="Role with LOGIN REPLICATION and SELECT on the shared columns.",
        ),
    ]
    password: Annotated[
        Secret | None,
        Field(description="Where the password is; none for peer or certificate login."),
    ] = None
    sslmode: Annotated[
        Literal["disable", "prefer", "require", "verify-ca", "verify-full"],
        Field(description="TLS, in libpq's terms; verify-full off this host."),
    ] = "prefer"
    sslrootcert: Annotated[
        str | None,
        Field(
            description="File of the certificate authority that signed the server's certificate."
        ),
    ] = None
    slot: Annotated[
        Identifier | None, Field(description="Replication slot; default: sync_agent_<name>.")
    ] = None
    publication: Annotated[
        Identifier | None, Field(description="Publication; default: sync_agent_<name>.")
    ] = None
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=300,
            description="How often a sign of life is written to the log (no table is touched).",
        ),
    ] = 10.0


class TechnicalColumns(Model):
    """Optional columns the agent adds to a front-end table; the value is the column's name, and a column not named is not written."""

    operation: Annotated[str | None, Field(description="Last operation: I, U or D (操作类型).")] = (
        None
    )
    deleted: Annotated[
        str | None,
        Field(
            description="0, or 1 for a row deleted at the source (逻辑删除); needs delete = 'soft'."
        ),
    ] = None
    sequence: Annotated[
        str | None,
        Field(
            description="Number of the row's last event in its topic, rising: the incremental key for pulls."
        ),
    ] = None
    batch: Annotated[
        str | None,
        Field(description="Number of the outbox batch that carried the last event (批次号)."),
    ] = None
    source_time: Annotated[str | None, Field(description="Commit time at the source, UTC.")] = None
    sync_time: Annotated[
        str | None, Field(description="Time of writing to the front end, UTC (数据时间戳).")
    ] = None


class FrontSettings(Model):
    """The unit's front-end database (前置库)."""

    url: Annotated[
        str | None,
        Field(
            description="SQLAlchemy URL without password: sqlite:///path, postgresql+psycopg://user@host/db or mariadb+pymysql://user@host/db; "
            "default: SQLite below state_directory."
        ),
    ] = None
    password: Annotated[Secret | None, Field(description="Where the password is.")] = None
    types: Annotated[
        Literal["native", "text"],
        Field(
            description="Columns of tables that init creates in MariaDB or MySQL: native (DECIMAL, DATE, DATETIME, TIME, DOUBLE), "
            "or text, which also holds NaN, infinity and every year."
        ),
    ] = "native"
    lock_wait_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=600,
            description="How long one statement waits for a lock before the transaction is tried anew.",
        ),
    ] = 20.0
    max_rows: Annotated[
        Positive,
        Field(
            description="Row changes after which the front-end transaction ends at the next source commit."
        ),
    ] = 10_000
    max_bytes: Annotated[
        Positive,
        Field(
            description="Bytes of changes after which the front-end transaction ends at the next source commit."
        ),
    ] = 4_194_304
    max_refused_rows: Annotated[
        int,
        Field(
            ge=0,
            description="Rows of one front-end table that may be refused by it (a constraint, a trigger, a value its column cannot hold) "
            "before the table is suspended; 0: the first one suspends it.",
        ),
    ] = 100


class ReconcileSettings(Model):
    """Copying, verifying and repairing tables beside the stream."""

    max_delete_share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of a front-end table that a copy may delete; past it (and past 100 rows) the table is suspended.",
        ),
    ] = 0.2
    max_outbox_bytes: Annotated[
        Positive,
        Field(
            description="Copying waits while the outbox holds more than so many bytes that Kafka has not taken."
        ),
    ] = 2_147_483_648
    window_bytes: Annotated[
        Positive,
        Field(
            description="Changes remembered while a page is read; past it the page is dropped and the next one is smaller."
        ),
    ] = 16_777_216


class SaslSettings(Model):
    """Login at Kafka."""

    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Field(description="SASL mechanism.")
    ] = "SCRAM-SHA-512"
    user: Annotated[str, Field(min_length=1, description="User name.")]
    password: Annotated[Secret, Field(description="Where the password is.")]


class TlsSettings(Model):
    """TLS to Kafka; host name and certificate are always verified."""

    ca_file: Annotated[
        str | None,
        Field(description="Certificate authority of the brokers; default: the system's."),
    ] = None
    cert_file: Annotated[
        str | None, Field(description="Client certificate, where the brokers ask for one.")
    ] = None
    key_file: Annotated[str | None, Field(description="Key of the client certificate.")] = None


class KafkaSettings(Model):
    """The exchange platform's Kafka."""

    bootstrap_servers: Annotated[
        list[Annotated[str, Field(pattern=r"^\S+:\d+$")]],
        Field(min_length=1, description="Brokers to ask first, as host:port."),
    ]
    prefix: Annotated[
        TopicName, Field(description="First part of every topic name, given by the platform.")
    ]
    client: Annotated[
        Literal["kafka-python", "librdkafka"],
        Field(
            description="Client that publishes; librdkafka is faster and needs the extra `fast`."
        ),
    ] = "kafka-python"
    tls: Annotated[TlsSettings | None, Field(description="TLS; absent: none.")] = None
    sasl: Annotated[SaslSettings | None, Field(description="Login; absent: none.")] = None
    value_format: Annotated[
        Literal["json", "json-schema"],
        Field(
            description="json-schema: keys and values carry Kafka Connect's schema, as its JDBC sinks want it."
        ),
    ] = "json"
    before: Annotated[
        Literal["log", "complete"],
        Field(
            description="log: the old row as far as the log has it; complete: always the whole old row, looked up in the front end (Flink)."
        ),
    ] = "log"
    transactions: Annotated[
        bool,
        Field(
            description="Publish begin and end of source transactions to <prefix>.transaction, and each event's place in its own."
        ),
    ] = False
    partitions: Annotated[
        Positive, Field(description="Partitions of topics that init creates.")
    ] = 3
    replication_factor: Annotated[
        Positive, Field(description="Replicas of topics that init creates; 3 on a real cluster.")
    ] = 1
    max_event_bytes: Annotated[
        Positive, Field(description="Largest event (key, value and headers); topics must take it.")
    ] = 1_000_000
    transaction_events: Annotated[
        Positive,
        Field(
            description="Events in one Kafka transaction; a source transaction up to this size is not split."
        ),
    ] = 10_000
    transaction_bytes: Annotated[Positive, Field(description="Bytes in one Kafka transaction.")] = (
        4_194_304
    )
    transaction_timeout_seconds: Annotated[
        float,
        Field(
            ge=2,
            le=60,
            description="How long a dead agent's open transaction may hold up consumers; half of it bounds a transaction.",
        ),
    ] = 10.0
    in_flight_bytes: Annotated[
        Positive, Field(description="Bytes handed to the client and not yet acknowledged.")
    ] = 2_097_152


class Condition(Model):
    """One condition of a row filter; a row is shared when all hold. Values are compared as values of the column's own type."""

    column: Annotated[str, Field(min_length=1, description="Source column; it need not be shared.")]
    is_in: Annotated[
        list[str | int | bool] | None, Field(min_length=1, description="The value is one of these.")
    ] = None
    not_in: Annotated[
        list[str | int | bool] | None,
        Field(min_length=1, description="The value is none of these (NULL is not one of them)."),
    ] = None
    is_null: Annotated[
        bool | None, Field(description="true: the value is NULL; false: it is not.")
    ] = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if sum(test is not None for test in (self.is_in, self.not_in, self.is_null)) != 1:
            raise Inconsistent([((), mark("set exactly one of is_in, not_in and is_null"), {})])
        return self


class ResourceSettings(Model):
    """One shared table. Only the columns listed leave the unit."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,40}$",
            description="Name of the resource; part of its topic's name.",
        ),
    ]
    table: Annotated[
        str,
        Field(
            pattern=r"^[^.]+\.[^.]+$|^[^.]+$",
            description="Source table as schema.table, in its exact spelling, without quotes.",
        ),
    ]
    columns: Annotated[
        list[str],
        Field(min_length=1, description="Shared columns in order, the key's columns among them."),
    ]
    rename: Annotated[
        dict[str, str], Field(description="New names of columns: source = 'front end and events'.")
    ] = {}
    filter: Annotated[
        list[Condition], Field(description="Conditions a row must meet to be shared.")
    ] = []
    target: Annotated[
        str | None,
        Field(description="Front-end table, [schema.]table; default: the source table's own name."),
    ] = None
    topic: Annotated[
        TopicName | None, Field(description="Topic; default: <kafka.prefix>.<name>.")
    ] = None
    delete: Annotated[
        Literal["hard", "soft"],
        Field(description="soft: a deleted row stays, marked in technical.deleted."),
    ] = "hard"
    technical: Annotated[
        TechnicalColumns, Field(description="Technical columns of the front-end table.")
    ] = TechnicalColumns()

    @property
    def schema_name(self) -> str:
        """Schema of the source table (`public` if not given)."""
        return self.table.rpartition(".")[0] or "public"

    @property
    def table_name(self) -> str:
        """Name of the source table without its schema."""
        return self.table.rpartition(".")[2]

    @property
    def needed_columns(self) -> list[str]:
        """Source columns the agent reads: the shared ones (the key is among them) and those the filter tests."""
        return list(
            dict.fromkeys([*self.columns, *(condition.column for condition in self.filter)])
        )

    @property
    def front_columns(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Each column of the front-end table by the place of its setting."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name in dict.fromkeys(self.columns):
            place = (
                ("rename", name) if name in self.rename else ("columns", self.columns.index(name))
            )
            found.append((place, self.shared_name(name)))
        for role, name in self.technical.model_dump().items():
            if name is not None:
                found.append((("technical", role), name))
        return found

    @property
    def target_name(self) -> str:
        """Front-end table as configured: `[schema.]table`."""
        return self.target or self.table_name

    def shared_name(self, column: str) -> str:
        """Name of a source column in the front end and in events."""
        return self.rename.get(column, column)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        findings = list(self._findings())
        if findings:
            raise Inconsistent(findings)
        return self

    def _findings(self) -> Iterator[Finding]:
        if len(set(self.columns)) != len(self.columns):
            yield ("columns",), mark("a column is listed twice"), {}
        for column in self.rename:
            if column not in self.columns:
                yield (
                    ("rename", column),
                    mark("no such column in columns: add it there or take this line out"),
                    {},
                )
        technical = [name for name in self.technical.model_dump().values() if name is not None]
        listed = [self.shared_name(column) for column in dict.fromkeys(self.columns)] + technical
        if len(set(listed)) != len(listed):
            yield (
                ("columns",),
                mark(
                    "two columns of the front-end table would have the same name: change rename or technical"
                ),
                {},
            )
        if self.delete == "soft" and self.technical.deleted is None:
            yield (
                ("technical", "deleted"),
                mark('delete = "soft" needs the name of a column here'),
                {},
            )
        if self.delete == "hard" and self.technical.deleted is not None:
            yield ("technical", "deleted"), mark('take it out, or set delete = "soft"'), {}


class ServiceSettings(Model):
    """The service itself."""

    listen: Annotated[
        str,
        Field(pattern=r"^\S+:\d+$", description="Address of /metrics, /-/healthy and /-/ready."),
    ] = "127.0.0.1:9187"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="Readable lines, or one JSON object a line.")
    ] = "text"


class Settings(Model):
    """The whole configuration file."""

    name: Annotated[
        Identifier | None,
        Field(description="Name of this agent; default: the configuration file's stem."),
    ] = None
    state_directory: Annotated[str, Field(description="Folder of the agent's own files.")] = (
        "/var/lib/unit-sync-agent"
    )
    allow_env_secrets: Annotated[
        bool, Field(description="Allow { env = '...' } secrets (development only).")
    ] = False
    source: SourceSettings
    front: FrontSettings = FrontSettings()
    kafka: KafkaSettings
    reconcile: ReconcileSettings = ReconcileSettings()
    service: ServiceSettings = ServiceSettings()
    resource: Annotated[
        list[ResourceSettings],
        Field(min_length=1, description="The shared tables, one [[resource]] each."),
    ]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        resources = dict(enumerate(self.resource))
        url = self.front.url or "sqlite:///"
        findings = [
            *doubles(resources, self.kafka.prefix, url),
            *same_columns(resources, url),
            *self._taken(),
        ]
        if findings:
            raise Inconsistent(findings)
        return self

    def _taken(self) -> Iterator[Finding]:
        for number, resource in enumerate(self.resource):
            if self.topic(resource) == self.transaction_topic:
                yield (
                    ("resource", number, "topic"),
                    mark(
                        "this topic is the one kafka.transactions publishes to: give the resource another one"
                    ),
                    {},
                )

    @property
    def agent(self) -> str:
        """The agent's name; `load` fills it in from the file's stem."""
        return self.name or "agent"

    @property
    def slot(self) -> str:
        """Name of the replication slot."""
        return self.source.slot or f"sync_agent_{self.agent}"[:63]

    @property
    def publication(self) -> str:
        """Name of the publication."""
        return self.source.publication or f"sync_agent_{self.agent}"[:63]

    @property
    def directory(self) -> Path:
        """Folder of this agent's own files."""
        return Path(self.state_directory) / self.agent

    @property
    def front_url(self) -> str:
        """SQLAlchemy URL of the front end, without password."""
        return self.front.url or f"sqlite:///{self.directory / 'front.db'}"

    @property
    def state_topic(self) -> str:
        """The one-partition topic of this agent's state records."""
        return f"{self.kafka.prefix}.sync-agent.{self.agent}"

    @property
    def transaction_topic(self) -> str | None:
        """The topic of begins and ends of source transactions; None if nobody asked for it."""
        return f"{self.kafka.prefix}.transaction" if self.kafka.transactions else None

    @property
    def event_topics(self) -> list[str]:
        """Every topic but the state topic."""
        return [*map(self.topic, self.resource), *filter(None, [self.transaction_topic])]

    def topic(self, resource: ResourceSettings) -> str:
        """Topic of a resource."""
        return topic_of(resource, self.kafka.prefix)


def topic_of(resource: ResourceSettings, prefix: str) -> str:
    """Topic of a resource under this prefix."""
    return resource.topic or f"{prefix}.{resource.name}"


def doubles(
    resources: Mapping[int, ResourceSettings], prefix: str, front_url: str
) -> Iterator[Finding]:
    """Names, tables, targets and topics that an earlier resource uses already; `resources` by their number in the file.

    Targets are compared as the front end does, which may take two names for one.
    """
    seen: dict[tuple[str, str], int] = {}
    kind = names.kind_of(front_url)
    for number, resource in resources.items():
        table = f"{resource.schema_name}.{resource.table_name}"
        reported: set[str] = set()
        for key, value in {
            "name": resource.name,
            "table": table,
            "target": _front_table(resource, front_url),
            "topic": topic_of(resource, prefix),
        }.items():
            first = seen.setdefault((key, value), number)
            # From the one reported already
            follows = (key == "target" and "table" in reported) or (
                key == "topic" and "name" in reported
            )
            if first == number or follows:
                continue
            reported.add(key)
            before = resources[first].target_name
            if key == "target" and before != resource.target_name:
                yield (
                    ("resource", number, key),
                    mark(
                        "for this front end it is the same table as that of resource[{first}]; each resource needs its own"
                    ),
                    {"first": first},
                )
                continue
            yield (
                ("resource", number, key),
                mark("resource[{first}] has the same; each resource needs its own"),
                {"first": first},
            )
        if (
            names.table_fold(kind)(resource.target_name.rpartition(".")[2])
            .lower()
            .startswith(names.OWN)
        ):
            yield (
                ("resource", number, "target"),
                mark("names that begin with {own} are the agent's own: give target another one"),
                {"own": names.OWN},
            )


def _front_table(resource: ResourceSettings, front_url: str) -> str:
    """Schema and table as the front end compares them."""
    fold = names.table_fold(names.kind_of(front_url))
    schema, _, table = resource.target_name.rpartition(".")
    return f"{fold(schema or names.default_schema(front_url))}.{fold(table)}"


def same_columns(resources: Mapping[int, ResourceSettings], front_url: str) -> Iterator[Finding]:
    """Columns of one front-end table whose names differ, and are the same for its database."""
    fold = names.column_fold(names.kind_of(front_url))
    for number, resource in resources.items():
        seen: dict[str, tuple[tuple[str | int, ...], str]] = {}
        for place, name in resource.front_columns:
            first, before = seen.setdefault(fold(name), (place, name))
            if before != name:
                yield (
                    ("resource", number, *place),
                    mark(
                        "for this front end it is the same column as {first}: change rename or technical"
                    ),
                    {
                        "first": "".join(
                            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first
                        )[1:]
                    },
                )
