"""What a source is handed back when it is opened: where it was left, and by whom."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class CommitMark(NamedTuple):
    """A source commit as it is recognised when the source sends it again."""

    position: str  # behind it; '' before the first
    transaction: int
    time_us: int


class Resume(NamedTuple):
    """The source's side of what the front end has stored."""

    position: str
    commit: CommitMark  # the last one that was applied
    identity: Mapping[str, Any]  # what the source wrote at `init`; only the source reads it
    # By resource: the parts of the catalogue when the table was last compared (Source.fingerprints)
    fingerprints: Mapping[str, Mapping[str, str]] = {}
    suspended: Collection[str] = ()  # resources of which nothing is read
    token: str = ""  # of the last Commit or Heartbeat
    # `Source.reader` of another host, whose place this one has taken; '': it has taken nobody's
    left_by: str = ""
