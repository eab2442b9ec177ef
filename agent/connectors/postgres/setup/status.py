"""Tells for `status` how the replication slot is, and for which transactions a copy waits."""

import math
from collections.abc import Mapping
from typing import Any

from agent.connectors.postgres.kept_log import KeptLog, kept_log
from agent.connectors.postgres.session import connect, guarded
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.postgres.slot import waited_for
from agent.connectors.postgres.slot_notes import SlotNote, SlotNotes
from agent.connectors.setup import Status, Wait
from agent.messages import mark, translate


def status(subscription: Subscription, horizon: int) -> Status:
    """Asks the business database. `horizon`: the xid up to which a copy waits, 0 for none.

    Raises the errors of the source's connections.
    """
    source, slot = subscription.source, subscription.slot
    with guarded(source), connect(source) as connection:
        kept = kept_log(connection, slot)
        running = waited_for(connection, horizon) if horizon else []
    waits = [Wait(*transaction) for transaction in running]
    note = SlotNotes(subscription.directory).read(slot)
    if kept is None:
        values = {**unknown(subscription), "exists": False, "active": False}
        loss = note and note.loss
        if loss:
            return Status(values, loss.text(), (loss.code, loss.text()), waits)
        text = translate(mark("replication slot {slot} does not exist"), slot=slot)
        return Status(values, text, ("SLOT_MISSING", text), waits)

    safe = None if math.isinf(kept.safe_bytes) else int(kept.safe_bytes)
    values = {
        "slot": slot,
        "exists": True,
        "active": kept.active,
        "lag_bytes": kept.unread_bytes,
        "retained_bytes": kept.bytes,
        "safe_bytes": safe,
        "wal_status": kept.status,
    }
    text = mark("replication slot {slot} is {bytes} bytes behind")
    text = translate(text, slot=slot, bytes=f"{kept.unread_bytes:,}")
    return Status(values, text, None, waits, _concern(subscription, kept, note))


def _concern(
    subscription: Subscription,
    kept: KeptLog,
    note: SlotNote | None,
) -> tuple[str, str] | None:
    """Tells that much log is kept, and for whom; None where it is not."""
    most = subscription.source.max_log_bytes
    refusal = note and note.refusal
    if refusal and most and kept.bytes > most:
        text = mark(
            "replication slot {slot} is to be given up, as source.max_log_bytes says, but: {reason}"
        )
        return "SLOT_KEPT", translate(text, slot=subscription.slot, reason=refusal.text())
    bound = subscription.source.warn_log_bytes
    if not kept.large(bound):
        return None
    text = mark(
        "the business database keeps {kept} MB of log for replication slot {slot}, "
        "more than {bound} MB, of which the agent has not read {unread} MB; "
        "while it is behind, copies of tables wait"
    )
    text = translate(
        text,
        slot=subscription.slot,
        kept=kept.bytes >> 20,
        bound=(kept.warned_of(bound) or 0) >> 20,
        unread=kept.unread_bytes >> 20,
    )
    return "LOG_RETAINED", text


def unknown(subscription: Subscription) -> Mapping[str, Any]:
    """See Setup.unknown."""
    return {
        "slot": subscription.slot,
        "exists": None,
        "active": None,
        "lag_bytes": None,
        "retained_bytes": None,
        "safe_bytes": None,
        "wal_status": None,
    }
