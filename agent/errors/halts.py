"""Errors that need a person: the agent ends, and systemd leaves it down."""

from typing import ClassVar

from agent.errors.kinds import EX_TEMPFAIL, Halt
from agent.messages import mark, phrase, translate


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
    hint = mark(
        "Create the file or credential named, readable by the agent's user only (chmod 600)."
    )


class FileRefused(Halt):
    """A file or folder of the agent's cannot be used by the user it runs as."""

    code = "FILE_REFUSED"
    summary = mark("User {user} cannot use {path}: {reason}")
    hint = mark(
        "The service and its commands run as one user, to whom these files belong: {remedy} "
        "(docs/OPERATIONS.md, FILE_REFUSED)."
    )


class ListenRefused(Halt):
    """The address of /metrics and health cannot be taken."""

    code = "LISTEN_REFUSED"
    summary = mark("The address {address} of service.listen cannot be taken: {reason}")
    hint = mark(
        "Another agent or program holds it: set service.listen to a free port of this host."
    )


class CertificateRefused(Halt):
    """The certificate of /metrics and the status page cannot be used."""

    code = "CERTIFICATE_REFUSED"
    summary = mark("The certificate of service.tls cannot be used: {reason}")
    hint = mark(
        "Name a certificate and its key, both as PEM and readable by the agent's user; "
        "`openssl x509 -noout -subject -enddate -in FILE` shows what a certificate is."
    )


class NotInitialised(Halt):
    """`init --apply` has not been run, or not to its end."""

    code = "NOT_INITIALISED"
    summary = mark("This agent is not initialised: {what} is missing")
    hint = mark("Run `sync-agent init` to see what is needed, then `sync-agent init --apply`.")


class InitRefused(Halt):
    """`init --apply`, `rebind`, `remove-source` or `downgrade` will not go on."""

    code = "INIT_REFUSED"
    summary = mark("Not done: {reason}")
    hint = mark("Fix what is named and give the same command again; it goes on where it stopped.")


class AnswerMissing(Halt):
    """`setup` has a question, and nobody to ask."""

    code = "ANSWER_MISSING"
    exit_code = 2
    summary = mark("setup has no answer to {question}, and no terminal to ask it on")
    hint = mark(
        "Nothing was written. Put the answer into the file of --answers, or give it with "
        "`--set PLACE=VALUE`; --yes takes every default there is."
    )


class AnswerWrong(Halt):
    """An answer that was given to `setup` cannot be used."""

    code = "ANSWER_WRONG"
    exit_code = 2
    summary = mark("setup cannot use the answer to {question}: {reason}")
    hint = mark("Nothing was written. Correct the answer, and run the command again.")


class SetupRefused(Halt):
    """`setup` cannot write where it is to write."""

    code = "SETUP_REFUSED"
    exit_code = 2
    summary = mark("setup writes nothing: {reason}")
    hint = mark("Nothing was changed. Do what is named, and run the command again.")


class TriggerLogMissing(Halt):
    """The table in which triggers note changes is not there: notes that waited are lost."""

    code = "TRIGGER_LOG_MISSING"
    summary = mark("The business database has no table {log}, in which triggers note changes")
    hint = mark(
        "Changes that were noted there are lost. `sync-agent init --apply` makes table and "
        "triggers, and has every table copied."
    )


class SlotMissing(Halt):
    """The replication slot does not exist."""

    code = "SLOT_MISSING"
    summary = mark("The replication slot {slot} does not exist on the business database")
    hint = mark(
        "Changes since {position} may be gone: `sync-agent init --apply` makes a new slot and "
        "reads every table again. Do not create it by hand."
    )


class SlotLost(Halt):
    """The server has invalidated the slot, mostly for the log it kept.

    `reason` is the server's own word, where it has one.
    """

    code = "SLOT_LOST"
    summary = mark("The server has given up the replication slot {slot} ({reason})")
    hint = mark(
        "Changes since {position} are gone: raise max_slot_wal_keep_size, have the owner drop the "
        "slot, then `sync-agent init --apply`."
    )
    # What led to it, by pg_replication_slots.invalidation_reason; the way back is the same for all.
    hints: ClassVar[dict[str, str]] = {
        "idle_timeout": mark(
            "Nobody read the slot for longer than idle_replication_slot_timeout, and changes since "
            "{position} may be gone: "
            "have the owner set it to 0 and drop the slot, then `sync-agent init --apply`."
        ),
        "rows_removed": mark(
            "Rows of the catalogue that the slot needed are gone, as happens on a standby, and "
            "changes since {position} cannot be read: "
            "have hot_standby_feedback = on set there and the slot dropped, then `sync-agent init "
            "--apply`."
        ),
        "wal_level_insufficient": mark(
            "The server's wal_level was below logical for a while, and changes since {position} "
            "cannot be read: "
            "have wal_level = logical set for good and the slot dropped, then `sync-agent init "
            "--apply`."
        ),
    }

    def advice(self, lang: str | None = None) -> str:
        """See AgentError.advice."""
        hint = self.hints.get(str(self.values.get("reason")), self.hint)
        return translate(hint, lang, **self.values)


class SlotAdvanced(Halt):
    """Somebody moved or re-created the slot nobody reads: changes were skipped (check A)."""

    code = "SLOT_ADVANCED"
    summary = mark(
        "The replication slot {slot} stands at {confirmed}, past {position} which this agent "
        "stored: somebody moved or re-created it"
    )
    hint = mark(
        "Changes in between were skipped: have the owner drop the slot, then `sync-agent init "
        "--apply` (docs/OPERATIONS.md, SLOT_ADVANCED)."
    )


class LogLost(Halt):
    """The source's log cannot be followed any further from where it was left."""

    code = "LOG_LOST"
    summary = mark("The business database's log cannot be followed behind {position}: {reason}")
    hint = mark(
        "Changes are gone. Have the server keep its log for longer, stop the service, then "
        "`sync-agent init --apply`: every table is compared (docs/OPERATIONS.md, LOG_LOST)."
    )


class SourceForked(Halt):
    """The source's history is not the one the agent has followed (check B)."""

    code = "SOURCE_FORKED"
    summary = mark(
        "The business database's history differs from what was applied up to {position}: {reason}"
    )
    hint = mark(
        "It was restored from a copy or failed over: have the owner drop the slot, then "
        "`sync-agent init --apply` (docs/OPERATIONS.md, SOURCE_FORKED)."
    )


class SourceReplaced(Halt):
    """The system identifier is another one (check B)."""

    code = "SOURCE_REPLACED"
    summary = mark(
        "The business database is another one: its system identifier was {before}, is {now}"
    )
    hint = mark(
        "After pg_upgrade: `sync-agent rebind --after-upgrade`. Else point the configuration at "
        "the right server (docs/OPERATIONS.md, SOURCE_REPLACED)."
    )


class SourcePromoted(Halt):
    """The timeline is another one (check B).

    A standby was promoted, or a backup was recovered to a point in time.
    """

    code = "SOURCE_PROMOTED"
    summary = mark(
        "The business database was promoted: its system identifier is the same, its timeline was "
        "{before}, is {now}"
    )
    hint = mark(
        "Has this server taken over for good? Then `sync-agent rebind --after-failover`. "
        "Else point the configuration at the right server (docs/OPERATIONS.md, SOURCE_PROMOTED)."
    )


class SourceNotPrimary(Halt):
    """The server is a standby."""

    code = "SOURCE_NOT_PRIMARY"
    summary = mark("The business database at {address} is a standby")
    hint = mark("Point the configuration at the primary server.")


class PublicationWrong(Halt):
    """The publication is missing, or could make the application's statements fail."""

    code = "PUBLICATION_WRONG"
    summary = mark("The publication {publication} is not as init makes it: {reason}")
    hint = mark(
        "Run `sync-agent check` for the exact statement. Changes made without it are not in the "
        "stream (docs/OPERATIONS.md, PUBLICATION_WRONG)."
    )


class ProtocolViolated(Halt):
    """The replication stream holds something this version does not know."""

    code = "PROTOCOL_VIOLATED"
    summary = mark("The replication stream holds something unknown at {position}: {what}")
    hint = mark(
        "Keep the log and report it with the server's version; nothing was acknowledged past this "
        "point."
    )


class FrontReplaced(Halt):
    """The front end's state is not the one this configuration belongs to."""

    code = "FRONT_REPLACED"
    summary = mark("The front end's state does not fit the configuration: {reason}")
    hint = mark(
        "Put back in the configuration what was changed; each agent needs its own front-end state "
        "(docs/OPERATIONS.md, FRONT_REPLACED)."
    )


class NewerVersion(Halt):
    """What is stored was written by a newer version of the agent.

    This version does not know its rules.
    """

    code = "NEWER_VERSION"
    summary = mark(
        "{what}: written by a newer version of the agent (format {found}; this version knows "
        "{known})"
    )
    hint = mark(
        "Install the version that wrote it, or a newer one; back to this one only with a backup "
        "(docs/OPERATIONS.md, NEWER_VERSION)."
    )


class FrontDamaged(Halt):
    """The front-end database has damaged pages, or files that do not belong together."""

    code = "FRONT_DAMAGED"
    summary = mark("The front-end database is damaged: {reason}")
    hint = mark(
        "Nothing was lost at the source: put a backup back or begin with an empty front end, step "
        "by step as docs/OPERATIONS.md, FRONT_DAMAGED, says."
    )


class StateLost(Halt):
    """The state topic has no record though init wrote one (check C)."""

    code = "STATE_LOST"
    summary = mark("The state topic {topic} holds no record of this agent")
    hint = mark(
        "Check kafka.prefix and kafka.bootstrap_servers first. If the topic is lost: `sync-agent "
        "rebind --after-restore` (docs/OPERATIONS.md, STATE_LOST)."
    )


class StateAhead(Halt):
    """Kafka holds more than the outbox ever had: the front end was restored (check C)."""

    code = "STATE_AHEAD"
    summary = mark(
        "Kafka's state record stands at event {state}, the outbox ends at {outbox}: {reason}"
    )
    hint = mark(
        "The front end was restored from a backup or belongs to another agent: go on as "
        "docs/OPERATIONS.md, STATE_AHEAD, says "
        "(`sync-agent rebind --after-restore`)."
    )


class StateBehind(Halt):
    """Kafka lost published records: its state stands before the published mark (check C)."""

    code = "STATE_BEHIND"
    summary = mark(
        "Kafka's state record stands at event {state}, before {mark} which was published already"
    )
    hint = mark(
        "Kafka was restored or lost records: go on as docs/OPERATIONS.md, STATE_BEHIND, says "
        "(`sync-agent rebind --after-restore`)."
    )


class DuplicateAgent(Halt):
    """Another agent publishes under this agent's identity (check C)."""

    code = "DUPLICATE_AGENT"
    summary = mark("Another agent with this identity is at work: {reason}")
    hint = mark(
        "A machine or its disk was cloned: remove the clone, then start this agent again "
        "(docs/OPERATIONS.md, DUPLICATE_AGENT)."
    )


class TopicMissing(Halt):
    """A topic has not been created; `command` makes it."""

    code = "TOPIC_MISSING"
    summary = mark("Topic {topic} does not exist")
    hint = mark("Run `sync-agent init --apply`, or let the platform create it: {command}")

    def __init__(self, *, topic: str, command: str = "") -> None:
        printed = phrase(mark("`sync-agent check` prints the command"))
        super().__init__(topic=topic, command=command or printed)


class TopicLimit(Halt):
    """The topic takes smaller messages than the agent may send."""

    code = "TOPIC_LIMIT"
    summary = mark("Topic {topic} takes messages up to {limit} bytes, the agent may send {needed}")
    hint = mark(
        "Raise max.message.bytes of the topic: `sync-agent check` prints the command. For a topic "
        "of events kafka.max_event_bytes can be lowered instead."
    )


class KafkaRefused(Halt):
    """Kafka denies a right the agent needs, or refuses its settings."""

    code = "KAFKA_REFUSED"
    summary = mark("Kafka refuses: {reason}")
    hint = mark(
        "Run `sync-agent check`: it names a missing right and the command that grants it. Other "
        "reasons: docs/OPERATIONS.md, KAFKA_REFUSED."
    )


class ServiceAway(Halt):
    """A command needs the running service."""

    code = "SERVICE_AWAY"
    exit_code = EX_TEMPFAIL
    summary = mark("The service of agent {agent} does not run, or has not answered for {seconds} s")
    hint = mark(
        "Start it (`systemctl start sync-agent@{agent}`) and see `sync-agent status`; then give "
        "the command again."
    )


class RequestRefused(Halt):
    """The service cannot do what a command asks of a table."""

    code = "REQUEST_REFUSED"
    exit_code = 1
    summary = mark("{resource} is {state}")
    hint = mark(
        "A suspended table: see `sync-agent status`, mend the cause, then `sync-agent resume`. A "
        "copying one: wait until it is live."
    )


class AlreadyRunning(Halt):
    """The agent's own service runs on this host: exit 75."""

    code = "ALREADY_RUNNING"
    exit_code = EX_TEMPFAIL
    summary = mark("The service of agent {agent} is already running and answers at {address}")
    hint = mark(
        "Where it must be stopped first: `systemctl stop sync-agent@{agent}`, or Ctrl-C where it "
        "was started by hand; "
        "`sync-agent status` shows what it does."
    )


class AnotherAgent(Halt):
    """Another process holds this agent's front end: exit 75."""

    code = "ANOTHER_AGENT"
    exit_code = EX_TEMPFAIL
    summary = mark("Another process holds this agent's front end ({holder})")
    hint = mark(
        "Stop it first: this agent's own service with `systemctl stop` and its unit, a command by "
        "waiting for its end, "
        "a copy of this agent on another host for good. Two must never write one front end."
    )
