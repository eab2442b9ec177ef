"""What the front end keeps of the source: handed back to it, and stored for it."""

from collections.abc import Mapping
from typing import Any

from agent.connectors.resume import CommitMark, Resume
from agent.connectors.setup import Start
from agent.front.store import SqlFront


def resume_of(state: Mapping[str, Any]) -> Resume:
    """Returns where the source was left, from the state row."""
    commit = CommitMark(
        state["commit_position"],
        state["commit_transaction"],
        state["commit_time_us"],
    )
    return Resume(state["position"], commit, state["identity"], token=state["token"])


def store_identity(front: SqlFront, start: Start, **values: object) -> None:
    """Stores the identity of the source, and with it other columns of the state row. Commits."""
    front.update_state(identity=start.identity, **values)


def complete_identity(front: SqlFront, before: Resume, identity: Mapping[str, Any]) -> None:
    """Stores the identity with what an older version had not noted of the source. Commits."""
    if identity != before.identity:
        front.update_state(identity=identity)


def follow(front: SqlFront, start: Start) -> None:
    """Has the front end go on from there, with every table compared. Commits."""
    front.follow(start.identity, start.position, start.time_us)
