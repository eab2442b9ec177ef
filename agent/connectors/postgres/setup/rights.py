"""Checks the role the agent logs in with.

That is its attributes, and that it may read the listed and tested columns.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from agent.config import ResourceSettings
from agent.connectors.postgres.catalogue import Catalogued
from agent.connectors.postgres.setup import facts, statements
from agent.connectors.postgres.setup.subscription import Subscription
from agent.findings import Finding, error, ok
from agent.messages import mark


def check_rights(
    subscription: Subscription,
    connection: psycopg.Connection[Any],
    tables: dict[tuple[str, str], Catalogued],
) -> list[Finding]:
    """Returns what the role lacks; one ok finding where it has everything.

    `tables`: those that exist.
    """
    user = subscription.source.user
    role = facts.role(connection, user)
    if role is None:
        return [
            error(
                "ROLE_MISSING",
                mark("The role {user} does not exist"),
                statements.role(user) + ";",
                user=user,
            )
        ]
    found: list[Finding] = []
    if not (role.login and (role.replication or role.super)):
        found.append(
            error(
                "ROLE_ATTRIBUTES",
                mark("The role {user} lacks LOGIN or REPLICATION"),
                statements.role(user, exists=True) + ";",
                user=user,
            )
        )
    if not facts.may_connect(connection, user):
        message = mark("The role {user} may not connect to database {database}")
        found.append(
            error(
                "RIGHT_CONNECT",
                message,
                statements.connect(subscription) + ";",
                user=user,
                database=subscription.source.database,
            )
        )
    for resource in subscription.resources:
        entry = tables.get(subscription.place(resource))
        if entry is not None:
            found += _table(subscription, connection, resource, entry)
    return found or [
        ok(
            "RIGHTS_OK",
            mark("The role {user} has REPLICATION and may read every listed column"),
            user=user,
        )
    ]


def _table(
    subscription: Subscription,
    connection: psycopg.Connection[Any],
    resource: ResourceSettings,
    entry: Catalogued,
) -> Iterator[Finding]:
    rights = facts.rights(
        connection, entry.table, resource.needed_columns, subscription.source.user
    )
    if rights is None:
        return
    values = {"user": subscription.source.user, "table": resource.table, "resource": resource.name}
    if not rights.usage:
        message = mark("{resource}: the role {user} may not use the schema of {table}")
        yield error(
            "RIGHT_SCHEMA",
            message,
            statements.usage(subscription, subscription.place(resource)[0]) + ";",
            **values,
        )
    for schema in rights.closed:
        message = mark(
            "{resource}: the role {user} may not use the schema {schema}, "
            "where the key of {table} has its type or operators"
        )
        yield error(
            "RIGHT_KEY_SCHEMA",
            message,
            statements.usage(subscription, schema) + ";",
            **values,
            schema=schema,
        )
    if rights.lacking:
        message = mark("{resource}: the role {user} may not read {columns} of {table}")
        yield error(
            "RIGHT_SELECT",
            message,
            statements.select(subscription, resource, rights.lacking) + ";",
            **values,
            columns=", ".join(rights.lacking),
        )
    if rights.hidden:
        message = mark(
            "{resource}: row level security on {table} would hide rows from the role {user}, "
            "though the log carries them all"
        )
        yield error(
            "ROW_SECURITY", message, statements.bypass_row_security(subscription) + ";", **values
        )
