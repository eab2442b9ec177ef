"""Reads everything the source says about the shared tables once, and judges it.

What it finds is what `init` refuses and `check` reports.
"""

from typing import Any, NamedTuple

import psycopg

from agent.config import ResourceSettings
from agent.config.loading import invalid as config_invalid
from agent.config.problems import Problem
from agent.connectors.postgres import catalogue, filters
from agent.connectors.postgres.catalogue import Catalogued, Publication
from agent.connectors.postgres.setup import facts, statements, tables
from agent.connectors.postgres.setup.publication import check_publication
from agent.connectors.postgres.setup.rights import check_rights
from agent.connectors.postgres.setup.server import (
    check_given_up,
    check_idle,
    check_limit,
    check_server,
    check_warned,
)
from agent.connectors.postgres.setup.subscription import Subscription
from agent.connectors.setup import Shareable
from agent.connectors.table import Criterion
from agent.errors import ConfigInvalid
from agent.findings import Finding, error, errors, failed
from agent.messages import mark

Connection = psycopg.Connection[Any]
Criteria = tuple[Criterion, ...]


class Inspection(NamedTuple):
    """The shared tables as the source has them."""

    tables: list[Finding]  # one or more per resource
    rights: list[Finding]
    publication: list[Finding]  # empty where there is none
    catalogued: dict[tuple[str, str], Catalogued]  # by schema and name
    generated: bool  # the publication must carry stored generated columns
    published: Publication | None
    # By resource, where nothing stands against sharing it but rights
    shareable: dict[str, Shareable]
    invalid: ConfigInvalid | None  # what is wrong with the filters; among `tables`, too

    @property
    def key_schemas(self) -> set[str]:
        """The schemas of the types and operators of all keys, but PostgreSQL's own."""
        found: set[str] = set()
        for entry in self.catalogued.values():
            found.update(entry.table.key_schemas)
        return found


def inspect_server(subscription: Subscription, connection: Connection) -> list[Finding]:
    """Judges the server itself; while there is no slot, it must have room for one."""
    server = facts.server(connection)
    source = subscription.source
    first = facts.slot(connection, subscription.slot) is None
    return [
        *check_server(server, first),
        check_limit(server),
        check_warned(server, source.warn_log_bytes),
        check_given_up(server, source.warn_log_bytes, source.max_log_bytes),
        *check_idle(server),
    ]


def inspect(subscription: Subscription, connection: Connection) -> Inspection:
    """Reads catalogue, rights and publication over any role's connection to the database."""
    names = [subscription.place(resource) for resource in subscription.resources]
    catalogued = catalogue.tables(connection, names)
    found = _Tables(subscription, connection, catalogued)
    for number, resource in enumerate(subscription.resources):
        found.inspect(number, resource)

    invalid = None
    if found.problems:
        invalid = config_invalid(subscription.agent, found.problems)
        found.findings.append(failed(invalid))

    published = catalogue.publication(connection, subscription.publication)
    publication: list[Finding] = []
    if published is not None:
        publication = check_publication(subscription, published, found.generated)

    rights = check_rights(subscription, connection, catalogued)
    if found.closed:
        rights = [*errors(rights), *found.closed]
    return Inspection(
        found.findings,
        rights,
        publication,
        catalogued,
        found.generated,
        published,
        found.shareable,
        invalid,
    )


class _Tables:
    """The shared tables, inspected one after the other."""

    def __init__(
        self,
        subscription: Subscription,
        connection: Connection,
        catalogued: dict[tuple[str, str], Catalogued],
    ) -> None:
        self.findings: list[Finding] = []
        self.closed: list[Finding] = []  # schemas the role may not use
        self.problems: list[Problem] = []  # of the configuration
        self.shareable: dict[str, Shareable] = {}
        self.generated = False
        self._subscription = subscription
        self._connection = connection
        self._catalogued = catalogued
        self._version = facts.server(connection).version
        oids = [entry.table.oid for entry in catalogued.values()]
        self._traits = facts.traits(connection, oids)

    def inspect(self, number: int, resource: ResourceSettings) -> None:
        """Judges one table, and reads its filter where the table can be shared."""
        entry = self._catalogued.get(self._subscription.place(resource))
        traits = None if entry is None else self._traits.get(entry.table.oid)
        found = tables.check_table(resource, entry, traits, self._version)
        self.findings += found
        if entry is None or errors(found):
            return
        if tables.needs_generated(resource, entry, self._version):
            self.generated = True
        self.shareable[resource.name] = Shareable(
            entry.table, self._criteria(number, resource, entry)
        )

    def _criteria(
        self, number: int, resource: ResourceSettings, entry: Catalogued
    ) -> Criteria | None:
        """Reads the filter of a table; None where the role lacks a right for it."""
        user = self._subscription.source.user
        schemas = filters.closed(self._connection, user, resource, entry.table.oid)
        if schemas:
            self.closed += [_closed(self._subscription, resource, schema) for schema in schemas]
            return None
        criteria, wrong = filters.criteria(self._connection, number, resource, entry.table)
        self.problems += wrong
        return criteria


def _closed(subscription: Subscription, resource: ResourceSettings, schema: str) -> Finding:
    message = mark(
        "{resource}: the role {user} may not use the schema {schema}, "
        "where the filter of {table} has the type of a column"
    )
    return error(
        "RIGHT_TYPE_SCHEMA",
        message,
        statements.usage(subscription, schema) + ";",
        resource=resource.name,
        user=subscription.source.user,
        table=resource.table,
        schema=schema,
    )
