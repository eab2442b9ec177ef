"""Everything the source says about the shared tables, read once, and judged: what init refuses and check reports."""

from typing import Any, NamedTuple

import psycopg

from agent.config import ResourceSettings, Settings
from agent.config.loading import invalid as config_invalid
from agent.config.problems import Problem
from agent.connectors.postgres import catalogue, filters
from agent.connectors.postgres.catalogue import Catalogued, Publication
from agent.connectors.table import Criterion
from agent.errors import ConfigInvalid
from agent.messages import mark
from agent.preflight import source_facts, statements, table_checks
from agent.preflight.findings import Finding, error, errors, failed
from agent.preflight.publication_checks import check_publication
from agent.preflight.rights_checks import check_rights
from agent.preflight.server_checks import check_idle, check_limit, check_server
from agent.resource import Resource


class Judgement(NamedTuple):
    """The shared tables as the source has them."""

    tables: list[Finding]  # one or more per resource
    rights: list[Finding]
    publication: list[Finding]  # empty where there is none
    catalogued: dict[tuple[str, str], Catalogued]
    generated: bool  # the publication must carry stored generated columns
    published: Publication | None
    criteria: dict[str, tuple[Criterion, ...]]  # of each resource that can be shared, its filter
    invalid: ConfigInvalid | None  # what is wrong with the filters; among `tables`, too

    def resources(self, settings: Settings) -> list[Resource]:
        """The resources compiled; to be called only where `tables` holds no error."""
        return [self._resource(resource, settings) for resource in settings.resource]

    def _resource(self, resource: ResourceSettings, settings: Settings) -> Resource:
        if resource.name not in self.criteria:  # for want of a right: its front-end table is known
            resource = resource.model_copy(update={"filter": []})
        table = self.catalogued[resource.schema_name, resource.table_name].table
        return Resource(resource, settings, table, self.criteria.get(resource.name, ()))

    @property
    def key_schemas(self) -> set[str]:
        """The schemas of the types and operators of all keys, but PostgreSQL's own."""
        found: set[str] = set()
        for entry in self.catalogued.values():
            found.update(entry.table.key_schemas)
        return found

    @property
    def oids(self) -> list[int]:
        """The shared tables."""
        return [entry.table.oid for entry in self.catalogued.values()]


def judge_server(settings: Settings, connection: psycopg.Connection[Any]) -> list[Finding]:
    """Judges the server itself; while there is no slot, it must have room for one."""
    server = source_facts.server(connection)
    first = source_facts.slot(connection, settings.slot) is None
    return [*check_server(server, first), check_limit(server), *check_idle(server)]


def judge(settings: Settings, connection: psycopg.Connection[Any]) -> Judgement:
    """Reads catalogue, rights and publication over any role's connection to the database."""
    version = source_facts.server(connection).version
    catalogued = catalogue.tables(
        connection, [(resource.schema_name, resource.table_name) for resource in settings.resource]
    )
    traits = source_facts.traits(connection, [entry.table.oid for entry in catalogued.values()])
    tables: list[Finding] = []
    generated = False
    made: dict[str, tuple[Criterion, ...]] = {}
    problems: list[Problem] = []
    closed: list[Finding] = []
    for number, resource in enumerate(settings.resource):
        entry = catalogued.get((resource.schema_name, resource.table_name))
        found = table_checks.check_table(
            resource, entry, traits.get(entry.table.oid) if entry else None, version
        )
        tables += found
        if entry is not None and not errors(found):
            generated = generated or table_checks.needs_generated(resource, entry, version)
            schemas = filters.closed(connection, settings.source.user, resource, entry.table.oid)
            closed += [_closed(settings, resource, schema) for schema in schemas]
            if not schemas:
                made[resource.name], wrong = filters.criteria(
                    connection, number, resource, entry.table
                )
                problems += wrong
    invalid = config_invalid(settings.agent, problems) if problems else None
    if invalid is not None:
        tables.append(failed(invalid))
    published = catalogue.publication(connection, settings.publication)
    publication = check_publication(settings, published, generated) if published is not None else []
    rights = check_rights(settings, connection, catalogued)
    if closed:
        rights = [*errors(rights), *closed]
    return Judgement(
        tables,
        rights,
        publication,
        catalogued,
        generated,
        published,
        made,
        invalid,
    )


def _closed(settings: Settings, resource: ResourceSettings, schema: str) -> Finding:
    message = mark(
        "{resource}: the role {user} may not use the schema {schema}, where the filter of {table} has the type of a column"
    )
    return error(
        "RIGHT_TYPE_SCHEMA",
        message,
        statements.usage(settings, schema) + ";",
        resource=resource.name,
        user=settings.source.user,
        table=resource.table,
        schema=schema,
    )
