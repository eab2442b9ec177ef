"""PostgreSQL's setup: joins what the commands do at the business database into `Setup`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from agent.connectors.postgres.history import Identity
from agent.connectors.postgres.session import address
from agent.connectors.postgres.setup import (
    checks,
    planning,
    rebinding,
    removal,
    status,
    stream,
)
from agent.connectors.postgres.setup.administrator import administrator
from agent.connectors.postgres.setup.preparation import (
    PostgresPreparation,
    connected,
    prepare_role,
)
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.resume import Resume
from agent.connectors.setup import (
    After,
    Checked,
    Plan,
    Preparation,
    Rebound,
    Removal,
    Start,
    Status,
    Tell,
)
from agent.messages import mark, translate


class PostgresSetup:
    """See Setup. `front` names the front end in messages."""

    administered = True

    def __init__(self, subscription: Subscription, front: str) -> None:
        self._subscription = subscription
        self._front = front

    @property
    def address(self) -> str:
        """See Setup.address."""
        return address(self._subscription.source)

    def plan(self, admin_url: str | None) -> Plan:
        """See Setup.plan."""
        return planning.plan(self._subscription, admin_url)

    def check(self, stored: Callable[[], Resume] | None) -> Checked:
        """See Setup.check."""
        return checks.check_source(self._subscription, stored, self._front)

    @contextmanager
    def prepare(
        self, tell: Tell, admin_url: str | None, before: Resume | None
    ) -> Iterator[Preparation]:
        """See Setup.prepare."""
        source = self._subscription.source
        with administrator(source, admin_url) as admin:
            if before is None:
                prepare_role(source, admin, tell)
            with connected(source) as side:
                made = PostgresPreparation(self._subscription, side, admin, tell, before)
                if before is None:
                    stream.refuse_existing_slot(self._subscription, side, self._front)
                yield made

    @contextmanager
    def start(self, tell: Tell, before: Resume | None) -> Iterator[Start]:
        """See Setup.start."""
        with stream.new_slot(self._subscription, tell) as start:
            yield start
        values = {"slot": self._subscription.slot, "position": start.position}
        if before is None:
            text = mark("Replication slot {slot} created; the stream begins at {position}")
            tell(translate(text, None, **values))
            return
        if start.identity["system_id"] != Identity(**before.identity).system_id:
            text = mark(
                "Warning: the business database is another one than before "
                "(its system identifier has changed)"
            )
            tell(translate(text))
        text = mark(
            "Replication slot {slot} created anew; the stream begins at {position}, "
            "and the service reads every table again"
        )
        tell(translate(text, None, **values))

    def rebind(self, before: Resume, after: After) -> Rebound:
        """See Setup.rebind."""
        return rebinding.rebind(self._subscription, before, after)

    def removal(self, admin_url: str | None) -> Removal:
        """See Setup.removal."""
        return removal.removal(self._subscription, admin_url)

    def remove(self, tell: Tell, admin_url: str | None) -> None:
        """See Setup.remove."""
        removal.remove(self._subscription, tell, admin_url)

    def status(self, barriers: Sequence[str]) -> Status:
        """See Setup.status."""
        return status.status(self._subscription, max(map(int, barriers), default=0))

    def unknown(self) -> Mapping[str, Any]:
        """See Setup.unknown."""
        return status.unknown(self._subscription)
