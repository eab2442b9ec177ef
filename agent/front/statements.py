"""The statements of the agent's own tables that run at each commit, or a few times a second.

SQLAlchemy takes longer to make such a statement than the database to run it, so each is made once;
the values come as parameters. A parameter that names a row begins with `of_`: the others are those
of the columns that are written.
"""

from sqlalchemy import Table, bindparam, func, insert, select, update

# Rows of the outbox that are read with one question: 1 MiB each at the most
OUTBOX_ROWS = 16


class Statements:
    """The statements, made for the tables of one agent."""

    def __init__(
        self,
        state: Table,
        resource: Table,
        outbox: Table,
        applied: Table,
        requests: Table,
    ) -> None:
        # Moves the position, where epoch, position and batch are the ones known
        self.move = update(state).where(
            state.c.epoch == bindparam("of_epoch"),
            state.c.position == bindparam("of_position"),
            state.c.batch == bindparam("of_batch"),
        )

        # Moves the counter of a resource
        self.count = update(resource).where(resource.c.name == bindparam("of_name"))

        # Adds parts of a batch
        self.add_batch = insert(outbox)

        # Reads rows of the outbox; the first ones after the batch `after`
        held = outbox.c
        columns = held.batch, held.first_number, held.last_number, held.payload
        self.outbox = select(*columns).order_by(held.batch, held.part)
        later = held.batch > bindparam("after")
        self.outbox_after = self.outbox.where(later).limit(OUTBOX_ROWS)

        # Reads the last number and the oldest time of what waits after event `number`
        waits = held.last_number > bindparam("number")
        self.backlog = select(func.max(held.last_number), func.min(held.time_us)).where(waits)

        # Adds the source transactions of a commit, and reads all
        self.add_applied = insert(applied)
        self.applied = select(applied.c.batch, applied.c.transactions)

        # Reads what commands have asked and is not answered, oldest first
        asked = requests.c
        request = (
            asked.id,
            asked.kind,
            asked.resource,
            asked.allow_deletes,
            asked.report,
            asked.state,
        )
        unanswered = asked.state.in_(("asked", "running"))
        self.unanswered = select(*request).where(unanswered).order_by(asked.asked_us)
