"""Tells what `init --apply` would do at the business database, and what its owner can do for it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

from agent.connectors.postgres.setup import facts, statements
from agent.connectors.postgres.setup.administrator import administrator
from agent.connectors.postgres.setup.inspection import Inspection, inspect, inspect_server
from agent.connectors.postgres.setup.preparation import check_replication, connected
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.readiness import not_asked
from agent.connectors.setup import Plan
from agent.errors import AgentError
from agent.findings import Finding, errors, to_repair
from agent.messages import mark, translate


class _Answer(NamedTuple):
    """What the business database says; else why it says nothing."""

    inspected: Inspection | None
    server: list[Finding]
    slot: bool  # there is one of the agent's name
    reason: str


def plan(subscription: Subscription, admin_url: str | None) -> Plan:
    """See Setup.plan."""
    answer = _ask(subscription, admin_url)
    inspected = answer.inspected
    lines: list[str] = []
    if inspected is None:
        lines.append(not_asked(answer.reason))
    lines += [f"   {line}" for line in _owner(subscription, inspected)]

    wrong = errors(answer.server)
    if inspected is not None:
        wrong += errors([*inspected.tables, *inspected.publication])
    if wrong:
        once = dict.fromkeys(wrong)
        lines.append(to_repair(once))

    text = mark("   replication slot {slot} (plugin pgoutput), made with the right REPLICATION")
    if answer.slot:
        text = mark("   replication slot {slot}: there")
    lines.append(translate(text, slot=subscription.slot))

    if inspected is None or errors(inspected.tables):
        return Plan(lines, None)
    return Plan(lines, inspected.shareable)


def _ask(subscription: Subscription, admin_url: str | None) -> _Answer:
    """Asks the business database as the administrator or the agent."""
    try:
        with administrator(subscription.source, admin_url) as connection:
            if connection is not None:
                return _answer(subscription, connection)
        with connected(subscription.source) as side:
            answer = _answer(subscription, side)
            if answer.inspected is not None and errors(answer.inspected.rights):
                return answer
            server = [*answer.server, *check_replication(subscription.source, side)]
            return answer._replace(server=server)
    except AgentError as error:
        return _Answer(None, [], False, error.text())


def _answer(subscription: Subscription, connection: psycopg.Connection[Any]) -> _Answer:
    return _Answer(
        inspect(subscription, connection),
        inspect_server(subscription, connection),
        facts.slot(connection, subscription.slot) is not None,
        "",
    )


def _owner(subscription: Subscription, inspected: Inspection | None) -> Iterator[str]:
    """SQL for the owner: what is missing, or everything where nothing is known."""
    user, publication = subscription.source.user, subscription.publication
    rights = errors(inspected.rights) if inspected else []
    if inspected is None or any(finding.code == "ROLE_MISSING" for finding in rights):
        note = translate(mark("then set its password in psql:"))
        yield f"{statements.role(user)};  -- {note} \\password {user}"
        schemas = inspected.key_schemas if inspected else ()
        for statement in statements.grants(subscription, schemas):
            yield f"{statement};"
    elif rights:
        for finding in rights:
            yield from finding.fix.splitlines()
    else:
        yield "-- " + translate(mark("role {user}: there, with all rights"), user=user)

    if inspected is None or inspected.published is None:
        generated = inspected.generated if inspected else False
        yield f"{statements.create_publication(subscription, generated)};"
    else:
        text = mark("publication {publication}: there")
        yield "-- " + translate(text, publication=publication)
