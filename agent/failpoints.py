"""Names the places where a test can make a process die, stall or fail.

Unset, a place costs one look at an empty dictionary. Places are armed only through the environment
of the process, never through a configuration file:

    SYNC_AGENT_FAILPOINTS=name:hit:action[,name:hit:action…]
        action: kill, raise, or stall=<seconds>
    SYNC_AGENT_FAILPOINTS_FD=<n>
        an inherited file; what has fired is noted there and fires no more

Without the file a place fires again in each process that reaches its n-th hit.
"""

import os
import signal
import time
from dataclasses import dataclass
from typing import Final

SETTING = "SYNC_AGENT_FAILPOINTS"
DESCRIPTOR = "SYNC_AGENT_FAILPOINTS_FD"

# In the order in which a change passes them.
PLACES: Final = (
    "after_read_begin",  # a source transaction begins
    "mid_rows",  # one of its changes was read
    "after_read_commit",  # its commit was read, nothing is written yet
    "before_apply",  # a set of changes is about to be worked off
    "mid_apply",  # between two changes of a set
    "after_rows",  # the rows of a set are written
    "after_outbox",  # a batch is in the outbox
    "before_ack_store",  # before the position is moved
    "after_position",  # the position is moved, not committed
    "before_front_commit",
    "after_front_commit",
    "before_ack_send",
    "after_ack_send",
    "before_kafka_begin",
    "mid_produce",  # between two events of a Kafka transaction
    "before_state_record",  # all events are handed over, the state record is not
    "after_state_record",  # the state record is handed over too
    "before_kafka_commit",  # all is stored
    "after_kafka_commit",
    "before_published_mark",
    # A page of a copy, from its snapshot to its merge.
    "before_page_snapshot",
    "after_page_snapshot",  # the snapshot serves, nothing is read
    "after_page_read",  # the high position is written
    "before_page_merge",  # the stream has delivered it
    "after_page_merge",  # rows, events and mark are written, not committed
)
# Those that only a source of states passes
OF_STATES: Final = (
    "after_look_read",  # a look's snapshot is over, nothing of it is delivered
    "before_mark_commit",  # notes are deleted or flags set there, not committed
)
# Those that only a reader of a binary log passes
OF_BINARY_LOG: Final = (
    "after_log_asked",  # the log is asked for, nothing has come
    "mid_event",  # an event has come, nothing of it is delivered
    "after_rotation",  # the log goes on in another file
    "after_definition",  # a shared table may be another one, and where that stands is not delivered
    "before_high_position",  # the stream has all that a page shows, and the page is not delivered
)
# Those of a log that is given up
OF_GIVING_UP: Final = (
    "before_giving_up",  # it is noted that it is given up
    "after_giving_up",
)


class FailpointReached(Exception):
    """Raised by the action `raise`: an error nobody foresees."""


@dataclass
class _Armed:
    """One place with what is left until it fires."""

    left: int  # hits
    action: str


def _parse(setting: str, fired: frozenset[str]) -> dict[str, _Armed]:
    """Returns the armed places.

    Raises ValueError for one that does not exist: a typing error must not pass as a test.
    """
    armed = {}
    for entry in filter(None, setting.split(",")):
        name, hit, action = entry.split(":")
        known = (*PLACES, *OF_STATES, *OF_BINARY_LOG, *OF_GIVING_UP)
        if name not in known or action.split("=")[0] not in ("kill", "raise", "stall"):
            raise ValueError(f"{SETTING}: {entry}")
        if name not in fired:
            armed[name] = _Armed(int(hit), action)
    return armed


def _fired() -> frozenset[str]:
    descriptor = os.environ.get(DESCRIPTOR)
    if not descriptor:
        return frozenset()
    return frozenset(os.pread(int(descriptor), 65536, 0).decode().split())


armed: Final = _parse(os.environ.get(SETTING, ""), _fired()) if SETTING in os.environ else {}


def hit(name: str) -> None:
    """Fires what is armed at the place `name`, where the process is now."""
    if not armed:
        return
    place = armed.get(name)
    if place is None:
        return
    place.left -= 1
    if place.left == 0:
        del armed[name]
        _fire(name, place.action)


def _fire(name: str, action: str) -> None:
    descriptor = os.environ.get(DESCRIPTOR)
    if descriptor:
        os.write(int(descriptor), f"{name}\n".encode())
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise FailpointReached(name)
    else:
        time.sleep(float(action.removeprefix("stall=")))


def inherited() -> tuple[int, ...]:
    """Returns the descriptor that a parent must pass on to its children, if there is one."""
    descriptor = os.environ.get(DESCRIPTOR)
    return (int(descriptor),) if descriptor else ()
