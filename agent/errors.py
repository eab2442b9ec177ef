"""Every error the agent knows: a stable code, what happens next (the directive), and the operator's next step.

AgentError
├── Retry ............ back-off with jitter, for ever
│   ├── SourceUnreachable, FrontUnreachable, FrontBusy, KafkaUnreachable
│   ├── SlotBusy, SlowLine
│   └── LoginRefused (waits up to 60 s between attempts)
├── Suspend .......... this table alone stops; the others go on
│   ├── RowIncomplete, EventTooLarge, TableChanged, RowRefused, TableUnpublished
└── Halt ............. the agent exits 78 and systemd leaves it down
    ├── ConfigInvalid, SecretMissing, ListenRefused, NotInitialised, InitRefused
    ├── SlotMissing, SlotLost, SlotAdvanced, SourceForked, SourceReplaced, SourceNotPrimary, PublicationWrong, ProtocolViolated
    ├── FrontTableWrong, FrontReplaced
    ├── StateLost, StateAhead, StateBehind, DuplicateAgent, TopicLost, TopicMissing, PartitionsChanged, TopicLimit, KafkaRefused
    └── AnotherAgent (exits 75: another agent holds this front end)

The texts never hold row values, keys or secrets: only names of tables and columns, positions, counts and server addresses.
"""

from enum import StrEnum
from typing import ClassVar

from agent.messages import mark, translate

EX_TEMPFAIL = 75  # sysexits.h: another agent is at work
EX_CONFIG = 78  # sysexits.h: systemd does not restart (RestartPreventExitStatus)


class Directive(StrEnum):
    """What the service does after an error."""

    RETRY = "retry"
    SUSPEND = "suspend"
    HALT = "halt"


class AgentError(Exception):
    """An error with a code, a directive, a sentence for the operator and the next step.

    `summary` and `hint` are catalogue messages with `{names}`; the keyword arguments fill them.
    """

    code: ClassVar[str] = "INTERNAL"
    directive: ClassVar[Directive] = Directive.HALT
    exit_code: ClassVar[int] = EX_CONFIG
    summary: ClassVar[str] = mark("The agent met something it does not know: {detail}")
    hint: ClassVar[str] = mark("Keep the log and report it; nothing was lost, the agent goes on from its stored position when started again.")

    def __init__(self, **values: object) -> None:
        self.values = values
        super().__init__(f"{self.code}: {translate(self.summary, 'en', **values)}")

    def text(self, lang: str | None = None) -> str:
        """The sentence in the user's language, without the code."""
        return translate(self.summary, lang, **self.values)

    def advice(self, lang: str | None = None) -> str:
        """The next step in the user's language."""
        return translate(self.hint, lang, **self.values)


class Retry(AgentError):
    """A peer is away or busy: back off and try again, for ever."""

    directive = Directive.RETRY
    first_wait: ClassVar[float] = 0.1  # seconds before the second attempt; doubles up to the longest
    longest_wait: ClassVar[float] = 3.0


class Suspend(AgentError):
    """One table cannot go on; `resource` names it."""

    directive = Directive.SUSPEND

    def __init__(self, *, resource: str, **values: object) -> None:
        self.resource = resource
        super().__init__(resource=resource, **values)


class Halt(AgentError):
    """The promise cannot be kept without a person: exit 78."""


class SourceUnreachable(Retry):
    """The business database does not answer."""

    code = "SOURCE_UNREACHABLE"
    summary = mark("The business database at {address} does not answer: {reason}")
    hint = mark("Check that the database is up and that this host may reach it; the agent tries again by itself and loses nothing.")


class FrontUnreachable(Retry):
    """The front-end database does not answer."""

    code = "FRONT_UNREACHABLE"
    summary = mark("The front-end database does not answer: {reason}")
    hint = mark("Check that the front-end database is up; the agent tries again by itself. While it is down the business database keeps its log.")


class FrontBusy(Retry):
    """A lock or resource of the front-end database was not to be had in time."""

    code = "FRONT_BUSY"
    summary = mark("The front-end database could not take the changes in time: {reason}")
    hint = mark("Look for a session that holds a lock on the front-end tables, or for a full disk; the agent tries again by itself.")


class KafkaUnreachable(Retry):
    """The exchange platform's Kafka does not answer."""

    code = "KAFKA_UNREACHABLE"
    summary = mark("Kafka at {address} does not answer: {reason}")
    hint = mark("Run `sync-agent check`: it tells network, TLS, login and authorisation apart. Front-end tables go on; events wait in the outbox.")


class SlotBusy(Retry):
    """Another connection is reading the replication slot."""

    code = "SLOT_BUSY"
    summary = mark("The replication slot {slot} is in use by server process {pid}")
    hint = mark("If no other agent runs, the server ends the old connection within wal_sender_timeout; else stop the other agent.")


class SlowLine(Retry):
    """A Kafka transaction did not get through within half of its time-out: it is sent again at half the size."""

    code = "SLOW_LINE"
    summary = mark("The line to Kafka is too slow for {events} events in {seconds} s; the transaction is made smaller")
    hint = mark("Nothing to do; if it stays so, the outbox grows: ask for a faster line.")


class LoginRefused(Retry):
    """A peer refused user or password."""

    code = "LOGIN_REFUSED"
    first_wait = 5.0  # servers lock accounts after many attempts
    longest_wait = 60.0
    summary = mark("{peer} refused the login of {user}: {reason}")
    hint = mark("Put the right password into the file the configuration names; the agent reads it again at its next attempt, within 60 s.")


class RowIncomplete(Suspend):
    """A change lacks values and the front end has no row to take them from."""

    code = "ROW_INCOMPLETE"
    summary = mark("{resource}: a change at {position} lacks the value of column {column} and the front end has no such row")
    hint = mark("This version cannot fetch the row again: start over with an empty table (docs/OPERATIONS.md, ROW_INCOMPLETE).")


class EventTooLarge(Suspend):
    """An event would not fit into a Kafka message."""

    code = "EVENT_TOO_LARGE"
    summary = mark("{resource}: a row at {position} makes an event of {size} bytes; the limit is {limit}")
    hint = mark(
        "Raise the topic's max.message.bytes and kafka.max_event_bytes, or leave the large column out; then start over (docs/OPERATIONS.md, EVENT_TOO_LARGE)."
    )


class TableChanged(Suspend):
    """The source table no longer fits the configuration or the front-end table."""

    code = "TABLE_CHANGED"
    summary = mark("{resource}: the source table {table} changed: {change}")
    hint = mark("Adjust columns in the configuration and the front-end table, then start over with this table (docs/OPERATIONS.md, TABLE_CHANGED).")


class RowRefused(Suspend):
    """The front-end table refuses a row for its content."""

    code = "ROW_REFUSED"
    summary = mark("{resource}: the front-end table {table} refused a row: {reason}")
    hint = mark("Make the front-end table as wide as the source table and drop extra constraints, then start over (docs/OPERATIONS.md, ROW_REFUSED).")


class TableUnpublished(Suspend):
    """The publication no longer carries the table."""

    code = "TABLE_UNPUBLISHED"
    summary = mark("{resource}: the publication {publication} does not carry table {table} as the agent needs it: {reason}")
    hint = mark(
        "Run `sync-agent check` for the exact statement; changes made meanwhile are not in the stream: start over (docs/OPERATIONS.md, TABLE_UNPUBLISHED)."
    )


class ConfigInvalid(Halt):
    """The configuration file has problems; `problems` lists each with its dotted path."""

    problems: tuple[str, ...] = ()
    code = "CONFIG_INVALID"
    summary = mark("The configuration {path} has {count} problem(s):\n{listing}")
    hint = mark("Correct the places named; `config/agent.example.toml` shows every setting.")


class SecretMissing(Halt):
    """A secret the configuration refers to cannot be read."""

    code = "SECRET_MISSING"
    summary = mark("The secret for {setting} cannot be read: {reason}")
    hint = mark("Create the file or credential named, readable by the agent's user only (chmod 600).")


class ListenRefused(Halt):
    """The address of /metrics and health cannot be taken."""

    code = "LISTEN_REFUSED"
    summary = mark("The address {address} of service.listen cannot be taken: {reason}")
    hint = mark("Another agent or program holds it: set service.listen to a free port of this host.")


class NotInitialised(Halt):
    """`init --apply` has not been run, or not to its end."""

    code = "NOT_INITIALISED"
    summary = mark("This agent is not initialised: {what} is missing")
    hint = mark("Run `sync-agent init` to see what is needed, then `sync-agent init --apply`.")


class InitRefused(Halt):
    """`init --apply` will not go on."""

    code = "INIT_REFUSED"
    summary = mark("init stops: {reason}")
    hint = mark("Fix what is named and run `sync-agent init --apply` again; it goes on where it stopped.")


class SlotMissing(Halt):
    """The replication slot does not exist."""

    code = "SLOT_MISSING"
    summary = mark("The replication slot {slot} does not exist on the business database")
    hint = mark("Changes since {position} may be gone: start over (docs/OPERATIONS.md, SLOT_MISSING). Do not create the slot by hand.")


class SlotLost(Halt):
    """The server has removed WAL the slot still needed."""

    code = "SLOT_LOST"
    summary = mark("The server has given up the replication slot {slot} ({reason})")
    hint = mark("Changes since {position} are gone: start over (docs/OPERATIONS.md, SLOT_LOST), and raise max_slot_wal_keep_size.")


class SlotAdvanced(Halt):
    """Somebody moved or re-created the slot: changes were skipped (check A)."""

    code = "SLOT_ADVANCED"
    summary = mark("The replication slot {slot} stands at {confirmed}, past {position} which this agent stored: somebody moved or re-created it")
    hint = mark("Changes in between were skipped: start over (docs/OPERATIONS.md, SLOT_ADVANCED).")


class SourceForked(Halt):
    """The source's history is not the one the agent has followed (check B)."""

    code = "SOURCE_FORKED"
    summary = mark("The business database's history differs from what was applied up to {position}: {reason}")
    hint = mark("It was restored from a copy or failed over: start over (docs/OPERATIONS.md, SOURCE_FORKED).")


class SourceReplaced(Halt):
    """System identifier or timeline is another one (check B)."""

    code = "SOURCE_REPLACED"
    summary = mark("The business database is another one: {what} was {before}, is {now}")
    hint = mark("Point the configuration at the right server, or start over (docs/OPERATIONS.md, SOURCE_REPLACED).")


class SourceNotPrimary(Halt):
    """The server is a standby."""

    code = "SOURCE_NOT_PRIMARY"
    summary = mark("The business database at {address} is a standby")
    hint = mark("Point the configuration at the primary server.")


class PublicationWrong(Halt):
    """The publication is missing, or could make the application's statements fail."""

    code = "PUBLICATION_WRONG"
    summary = mark("The publication {publication} is not as init makes it: {reason}")
    hint = mark("Run `sync-agent check` for the exact statement. Changes made without it are not in the stream (docs/OPERATIONS.md, PUBLICATION_WRONG).")


class ProtocolViolated(Halt):
    """The replication stream holds something this version does not know."""

    code = "PROTOCOL_VIOLATED"
    summary = mark("The replication stream holds something unknown at {position}: {what}")
    hint = mark("Keep the log and report it with the server's version; nothing was acknowledged past this point.")


class FrontTableWrong(Halt):
    """An existing front-end table cannot hold the source's rows exactly."""

    code = "FRONT_TABLE_WRONG"
    summary = mark("Front-end table {table}: {reason}")
    hint = mark("Change the table as named, or drop it and let `sync-agent init --apply` create it.")


class FrontReplaced(Halt):
    """The front end's state is not the one this configuration belongs to."""

    code = "FRONT_REPLACED"
    summary = mark("The front end's state does not fit the configuration: {reason}")
    hint = mark("Each agent needs its own front-end state; check front.url and the agent's name (docs/OPERATIONS.md, FRONT_REPLACED).")


class StateLost(Halt):
    """The state topic has no record though init wrote one (check C)."""

    code = "STATE_LOST"
    summary = mark("The state topic {topic} holds no record of this agent")
    hint = mark("What was published is unknown: start over (docs/OPERATIONS.md, STATE_LOST).")


class StateAhead(Halt):
    """Kafka holds more than the outbox ever had: the front end was restored (check C)."""

    code = "STATE_AHEAD"
    summary = mark("Kafka's state record stands at event {state}, the outbox ends at {outbox}: {reason}")
    hint = mark("The front end was restored from a backup or belongs to another agent: start over (docs/OPERATIONS.md, STATE_AHEAD).")


class StateBehind(Halt):
    """Kafka lost records that were published: its state stands before the published mark (check C)."""

    code = "STATE_BEHIND"
    summary = mark("Kafka's state record stands at event {state}, before {mark} which was published already")
    hint = mark("Kafka was restored or lost records: start over (docs/OPERATIONS.md, STATE_BEHIND).")


class DuplicateAgent(Halt):
    """Another agent publishes under this agent's identity (check C)."""

    code = "DUPLICATE_AGENT"
    summary = mark("Another agent with this identity is at work: {reason}")
    hint = mark("A machine or its disk was cloned: remove the clone, then start this agent again (docs/OPERATIONS.md, DUPLICATE_AGENT).")


class TopicLost(Halt):
    """A topic was deleted, re-created or lost records (check C)."""

    code = "TOPIC_LOST"
    summary = mark("Topic {topic} is not the one published to: {reason}")
    hint = mark("Subscribers miss events: start over (docs/OPERATIONS.md, TOPIC_LOST).")


class TopicMissing(Halt):
    """A topic has not been created."""

    code = "TOPIC_MISSING"
    summary = mark("Topic {topic} does not exist")
    hint = mark("Run `sync-agent init --apply`, or let the platform create it with the command `sync-agent check` prints.")


class PartitionsChanged(Halt):
    """The number of partitions changed, so keys would move (check C)."""

    code = "PARTITIONS_CHANGED"
    summary = mark("Topic {topic} had {before} partitions, now {now}: the order per key would break")
    hint = mark("Partitions cannot be taken away: start over with a new topic (docs/OPERATIONS.md, PARTITIONS_CHANGED).")


class TopicLimit(Halt):
    """The topic takes smaller messages than the agent may send."""

    code = "TOPIC_LIMIT"
    summary = mark("Topic {topic} takes messages up to {limit} bytes, the agent may send {needed}")
    hint = mark("Raise max.message.bytes of the topic, or lower kafka.max_event_bytes.")


class KafkaRefused(Halt):
    """Kafka denies a right the agent needs, or refuses its settings."""

    code = "KAFKA_REFUSED"
    summary = mark("Kafka refuses: {reason}")
    hint = mark("Run `sync-agent check`: it names the missing right and the command that grants it.")


class AnotherAgent(Halt):
    """Another agent holds this front end: exit 75."""

    code = "ANOTHER_AGENT"
    exit_code = EX_TEMPFAIL
    summary = mark("Another agent holds the front end ({holder})")
    hint = mark("Stop the other agent first; two must never write one front end.")


def stored(code: str, values: dict[str, object]) -> AgentError:
    """The error that was stored as code and values, so that it can be told in the reader's language."""
    kinds: list[type[AgentError]] = [AgentError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    found = next((kind for kind in kinds if kind.code == code and not kind.__subclasses__()), None)
    return found(**values) if found is not None else AgentError(detail=code)
