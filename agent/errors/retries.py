"""Errors after which the agent tries again by itself, for ever."""

from agent.errors.kinds import Retry
from agent.messages import mark


class SourceUnreachable(Retry):
    """The business database does not answer."""

    code = "SOURCE_UNREACHABLE"
    summary = mark("The business database at {address} does not answer: {reason}")
    hint = mark(
        "Check that the database is up and that this host may reach it; the agent tries again by "
        "itself and loses nothing."
    )


class SourceUnfit(Retry):
    """A session at the business database could not give values in the one text form."""

    code = "SOURCE_UNFIT"
    summary = mark("The business database cannot be read as it must be: {reason}")
    hint = mark(
        "Change the setting or the connection pooler that is named, for a SQLSTATE run `sync-agent "
        "check`; the agent tries again by itself."
    )


class StreamUnreadable(Retry):
    """The business database raises the same error whenever it comes to a place of its log."""

    code = "STREAM_UNREADABLE"
    first_wait = 30.0  # the same will come again
    longest_wait = 60.0
    summary = mark(
        "The business database cannot hand over its log after {position}: SQLSTATE {sqlstate}"
    )
    hint = mark(
        "All tables stand until it can; the agent tries again once a minute. The way out is in "
        "docs/OPERATIONS.md, STREAM_UNREADABLE."
    )


class SlotGivenUp(Retry):
    """The agent has dropped its own slot, as its owner's source.max_log_bytes says.

    No attempt can succeed before `init`. The service stays up all the same: the publisher delivers
    what is in the outbox, and every place shows why the tables stand.
    """

    code = "SLOT_GIVEN_UP"
    longest_wait = 60.0
    summary = mark(
        "The agent has given up the replication slot {slot}, as source.max_log_bytes says: the "
        "business database kept {kept} bytes of log for it, more than {bound}"
    )
    hint = mark(
        "All tables stand as they were at {position}. Mend what held the agent up, stop the "
        "service, and `sync-agent init --apply` makes a new slot and has every table compared."
    )


class FrontUnreachable(Retry):
    """The front-end database does not answer."""

    code = "FRONT_UNREACHABLE"
    summary = mark("The front-end database does not answer: {reason}")
    hint = mark(
        "Check that the front-end database is up; the agent tries again by itself. While it is "
        "down the business database keeps its log."
    )


class FrontBusy(Retry):
    """A lock or resource of the front-end database was not to be had in time."""

    code = "FRONT_BUSY"
    summary = mark("The front-end database could not take the changes in time: {reason}")
    hint = mark(
        "Look for a session that holds a lock on the front-end tables; the agent tries again by "
        "itself."
    )


class FrontFull(Retry):
    """The front-end database has no room left on its disk."""

    code = "FRONT_FULL"
    summary = mark("The front-end database has no room left: {reason}")
    hint = mark(
        "Make room on its disk, or give it a larger one or quota; the agent goes on by itself. "
        "Meanwhile the business database keeps its log."
    )


class FrontUnfit(Retry):
    """The front-end server, its session or its driver could not keep the promise."""

    code = "FRONT_UNFIT"
    summary = mark("The front-end database cannot be used: {reason}")
    hint = mark("Change the setting that is named; the agent tries again by itself.")


class KafkaUnreachable(Retry):
    """The exchange platform's Kafka does not answer."""

    code = "KAFKA_UNREACHABLE"
    summary = mark("Kafka at {address} does not answer: {reason}")
    hint = mark(
        "Run `sync-agent check`: it tells network, TLS, login and authorisation apart. Front-end "
        "tables go on; events wait in the outbox."
    )


class ClockWrong(Retry):
    """Kafka does not take records that are dated so far from the brokers' own time."""

    code = "CLOCK_WRONG"
    summary = mark(
        "Kafka at {address} refuses events for their time: the clock of this host differs from the "
        "brokers' by more than Kafka allows"
    )
    hint = mark(
        "Set this host's clock by NTP (`timedatectl timesync-status`), or have the brokers' set; "
        "events wait in the outbox and go on by themselves."
    )


class SourceBusy(Retry):
    """Somebody else reads the source: perhaps another agent, which then publishes, too."""


class SlotBusy(SourceBusy):
    """Another connection is reading the replication slot."""

    code = "SLOT_BUSY"
    summary = mark("The replication slot {slot} is in use by server process {pid}")
    hint = mark(
        "If no other agent runs, the server ends the old connection within wal_sender_timeout; "
        "else stop the other agent."
    )


class SlowLine(Retry):
    """A Kafka transaction did not get through within half of its time-out.

    It is sent again at half the size.
    """

    code = "SLOW_LINE"
    summary = mark(
        "Kafka has not taken {events} events within {seconds} s: the line is slow, or a broker "
        "does not answer; the transaction is made smaller"
    )
    hint = mark("Nothing to do; if it stays so, the outbox grows: ask for a faster line.")


class HangingTransaction(Retry):
    """Kafka has ended a transaction of this agent, but not in every partition.

    The next end there would count for its records, too.
    """

    code = "HANGING_TRANSACTION"
    summary = mark("A transaction of this agent that Kafka has ended is still open in {topics}")
    hint = mark(
        "The agent aborts it and goes on. If this goes on for minutes, Kafka's administrator has "
        "to do it (see the runbook)."
    )


class LoginRefused(Retry):
    """A peer refused user or password."""

    code = "LOGIN_REFUSED"
    first_wait = 5.0  # servers lock accounts after many attempts
    longest_wait = 60.0
    summary = mark("{peer} refused the login of {user}: {reason}")
    hint = mark(
        "Put the right password into the file the configuration names; the agent reads it again at "
        "its next attempt, within 60 s."
    )
