"""What the front end keeps of the source: handed back to it, and stored for it."""

from collections.abc import Mapping
from typing import Any

from agent.connectors.resume import CommitMark, Resume
from agent.connectors.setup import Start
from agent.front.base import PUBLICATION
from agent.front.store import SqlFront


def resume_of(state: Mapping[str, Any], noted: Mapping[str, str]) -> Resume:
    """Returns where the source was left, from the state row and what `init` noted of settings."""
    commit = CommitMark(state["commit_position"], state["commit_xid"], state["commit_time_us"])
    identity = {name: state[name] for name in ("system_id", "timeline", "slot")}
    identity["publication"] = noted.get(PUBLICATION, "")
    return Resume(state["position"], commit, identity)


def store_identity(front: SqlFront, start: Start, **values: object) -> None:
    """Stores the identity of the source, and with it other columns of the state row. Commits."""
    identity = {name: start.identity[name] for name in ("system_id", "timeline", "slot")}
    front.update_state(**identity, **values)


def follow(front: SqlFront, start: Start) -> None:
    """Has the front end go on from there, with every table compared. Commits."""
    identity = start.identity
    front.follow(identity["system_id"], identity["timeline"], start.position, start.time_us)
