"""What the front end in memory keeps through a crash."""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from agent.connectors.resume import CommitMark
from agent.front.base import Batch, Copy, Refused, Request, ResourceState, Stored
from agent.resource import FrontRow
from agent.values.rows import Key


@dataclass
class Durable:
    """What survives a crash: the tables, the outbox and the state. Mappings are by resource."""

    stored: Stored

    # By name of the table
    tables: dict[str, dict[Key, FrontRow]] = field(default_factory=dict)
    catalogues: dict[str, Mapping[str, str]] = field(default_factory=dict)

    outbox: list[Batch] = field(default_factory=list)
    transactions: list[tuple[int, ...]] = field(default_factory=list)

    # The error codes of suspended tables
    suspended: dict[str, str] = field(default_factory=dict)

    copies: dict[str, Copy] = field(default_factory=dict)
    holes: dict[str, set[Key]] = field(default_factory=dict)
    fingerprints: dict[str, Mapping[str, str]] = field(default_factory=dict)
    shared_keys: dict[str, dict[Key, str]] = field(default_factory=dict)
    withheld: dict[str, dict[Key, bool]] = field(default_factory=dict)
    refused: dict[str, dict[Key, Refused]] = field(default_factory=dict)
    topic_keys: dict[str, list[str]] = field(default_factory=dict)

    # By id: request, state, report
    requests: dict[str, tuple[Request, str, Mapping[str, Any]]] = field(default_factory=dict)

    # The front that has the lock
    holder: object = None

    def copy(self) -> "Durable":
        """Returns a copy that a transaction may change."""
        return replace(
            self,
            tables=deepcopy(self.tables),
            outbox=list(self.outbox),
            transactions=list(self.transactions),
            copies=dict(self.copies),
            holes=deepcopy(self.holes),
            fingerprints=dict(self.fingerprints),
            shared_keys=deepcopy(self.shared_keys),
            withheld=deepcopy(self.withheld),
            refused=deepcopy(self.refused),
            topic_keys=deepcopy(self.topic_keys),
            requests=dict(self.requests),
        )

    def move(self, resource: str, state: str, copy: Copy | None) -> None:
        """Brings a resource into a state, and replaces its copy."""
        before = self.stored.resources[resource]
        new = before._replace(state=state)
        resources = {**self.stored.resources, resource: new}

        self.stored = self.stored._replace(resources=resources)
        self.copies.pop(resource, None)
        if copy is not None:
            self.copies[resource] = copy


def empty_store(
    topics: Mapping[str, str],
    tables: Sequence[str],
    position: str = "0/0",
    identity: Mapping[str, Any] | None = None,
) -> Durable:
    """Makes a front end whose tables are live and empty: `topics` by resource, `tables` by name.

    `identity`: what the source would have written at `init`.
    """
    states = {}
    for name, topic in topics.items():
        states[name] = ResourceState("live", topic, generation=1, seq=0)

    stored = Stored(
        "memory",
        identity or {},
        epoch=0,
        position=position,
        position_time_us=time.time_ns() // 1000,
        commit=CommitMark("", 0, 0),
        number=0,
        batch=0,
        resources=states,
    )
    empty: dict[str, dict[Key, FrontRow]] = {name: {} for name in tables}
    return Durable(stored, empty)
