"""Errors that stop one table; the others go on."""

from agent.errors.kinds import Suspend
from agent.messages import mark


class ReadRefused(Suspend):
    """The business database does not let the agent read the table."""

    code = "READ_REFUSED"
    summary = mark(
        "{resource}: the business database does not let the agent read table {table}: {reason}"
    )
    hint = mark(
        "Run `sync-agent check`: it prints the GRANT that is missing. Then `sync-agent resume "
        "{resource}`."
    )


class WriteBackRefused(Suspend):
    """The business database does not let the agent mark rows of the table as taken."""

    code = "WRITE_BACK_REFUSED"
    summary = mark(
        "{resource}: the business database does not let the agent set the flag in table {table}: "
        "{reason}"
    )
    hint = mark(
        "Run `sync-agent check`: it prints the GRANT that the agent needs. Then `sync-agent resume "
        "{resource}`."
    )


class ValueUnreadable(Suspend):
    """The business database raises an error where it is to hand over a value of the table."""

    code = "VALUE_UNREADABLE"
    summary = mark(
        "{resource}: the business database cannot hand over the rows of table {table}: {reason}"
    )
    hint = mark(
        "Have the value mended in the business database (docs/OPERATIONS.md, VALUE_UNREADABLE, "
        "finds it), then `sync-agent resume {resource}`."
    )


class Internal(Suspend):
    """An exception nobody foresaw in the work of one table."""

    code = "INTERNAL"
    summary = mark("{resource}: the agent met something it does not know in this table: {detail}")
    hint = mark(
        "Keep the log and report it; the other tables go on. `sync-agent resume {resource}` tries "
        "the table again."
    )


class TooManyDeletes(Suspend):
    """A copy would delete more of the front-end table than is allowed without a word."""

    code = "TOO_MANY_DELETES"
    summary = mark(
        "{resource}: reconciling would delete {deletes} of {rows} rows of the front-end table; the "
        "limit is {limit}"
    )
    hint = mark(
        "See whether the business database and the filter are the right ones. If the rows are to "
        "go: `sync-agent resume {resource} --allow-deletes`."
    )


class RowsMiscounted(Suspend):
    """A copy has gone through all its phases, and the front end lacks rows or has too many."""

    code = "ROWS_MISCOUNTED"
    summary = mark(
        "{resource}: after the comparison the front-end table has {front} rows, the business "
        "database {source} to share"
    )
    hint = mark(
        "Find out which rows the front-end table merges or drops (docs/OPERATIONS.md, "
        "ROWS_MISCOUNTED), then `sync-agent resume {resource}`."
    )


class TableChanged(Suspend):
    """The source table no longer fits the configuration or the front-end table."""

    code = "TABLE_CHANGED"
    summary = mark("{resource}: the source table {table} changed: {change}")
    hint = mark(
        "Adjust columns in the configuration and the front-end table, then `sync-agent resume "
        "{resource}` (docs/OPERATIONS.md, TABLE_CHANGED)."
    )


class RowRefused(Suspend):
    """The front-end table refuses rows for their content, more than front.max_refused_rows."""

    code = "ROW_REFUSED"
    summary = mark("{resource}: the front-end table {table} refused a row: {reason}")
    hint = mark(
        "Make the front-end table as wide as the source table and drop extra constraints, or raise "
        "front.max_refused_rows; then `sync-agent resume {resource}`."
    )


class TableNotCaptured(Suspend):
    """The source does not deliver every change of the table whole."""


class TableUnpublished(TableNotCaptured):
    """The publication no longer carries the table."""

    code = "TABLE_UNPUBLISHED"
    summary = mark(
        "{resource}: the publication {publication} does not carry table {table} as the agent needs "
        "it: {reason}"
    )
    hint = mark(
        "Run `sync-agent check` for the exact statement, then `sync-agent resume {resource}`: what "
        "the stream missed is read again."
    )


class TriggersMissing(TableNotCaptured):
    """Changes of the table are not noted, or not all of them."""

    code = "TRIGGERS_MISSING"
    summary = mark("{resource}: changes of table {table} are not noted: {reason}")
    hint = mark(
        "Stop the service and run `sync-agent init --apply`, which makes the triggers that are "
        "missing: what was not noted is read again."
    )


class TableUnlogged(TableNotCaptured):
    """The source's log lacks changes of the table, or parts of them."""

    code = "TABLE_UNLOGGED"
    summary = mark("{resource}: the log lacks changes of table {table}: {reason}")
    hint = mark(
        "Mend the setting that is named, in the application's session too, then `sync-agent resume "
        "{resource}`: the table is read again (docs/OPERATIONS.md, TABLE_UNLOGGED)."
    )


class FrontTableWrong(Suspend):
    """A front-end table cannot hold the source's rows exactly."""

    code = "FRONT_TABLE_WRONG"
    summary = mark("Front-end table {table}: {reason}")
    hint = mark(
        "Change the table as named, or drop it and let `sync-agent init --apply` create it; then "
        "`sync-agent resume {resource}`."
    )


class TopicLost(Suspend):
    """A topic was deleted, re-created or lost records (check C)."""

    code = "TOPIC_LOST"
    summary = mark("{resource}: topic {topic} is not the one published to: {reason}")
    hint = mark(
        "If the topic is gone, have it created (`sync-agent check` prints the command); then "
        "`sync-agent republish {resource}`."
    )


class TopicTaken(Suspend):
    """A topic holds records that the state record does not know: another agent's (check C)."""

    code = "TOPIC_TAKEN"
    summary = mark("{resource}: topic {topic} holds records that this agent did not publish")
    hint = mark(
        "A topic belongs to one agent: give this one another kafka.prefix or topic. "
        "If whoever wrote there has ended: `sync-agent init --apply --take-over {topic}`."
    )


class FrontTableTaken(Suspend):
    """A front-end table is another agent's."""

    code = "FRONT_TABLE_TAKEN"
    summary = mark("{resource}: the front-end table {table} belongs to agent {other}")
    hint = mark(
        "Two agents must not write one table: set `target` of {resource} to another one, "
        "then `sync-agent init --apply` and `sync-agent resume {resource}`."
    )


class PartitionsChanged(Suspend):
    """The number of partitions changed, so keys would move (check C)."""

    code = "PARTITIONS_CHANGED"
    summary = mark(
        "{resource}: topic {topic} had {before} partitions, now {now}: the order per key would "
        "break"
    )
    hint = mark(
        "Tell the subscribers that a new generation of the topic begins, then `sync-agent "
        "republish {resource}`."
    )
