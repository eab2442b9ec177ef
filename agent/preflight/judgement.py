"""Everything the source says about the shared tables, read once, and judged: what init refuses and check reports."""

from typing import Any, NamedTuple

import psycopg

from agent.config import Settings
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.catalogue import Catalogued, Publication
from agent.preflight import source_facts, table_checks
from agent.preflight.findings import Finding, errors
from agent.preflight.publication_checks import check_publication
from agent.preflight.rights_checks import check_rights
from agent.resource import Resource


class Judgement(NamedTuple):
    """The shared tables as the source has them."""

    tables: list[Finding]  # one or more per resource
    rights: list[Finding]
    publication: list[Finding]  # empty where there is none
    catalogued: dict[tuple[str, str], Catalogued]
    generated: bool  # the publication must carry stored generated columns
    published: Publication | None

    def resources(self, settings: Settings) -> list[Resource]:
        """The resources compiled; to be called only where `tables` holds no error."""
        return [
            Resource(
                resource, settings, self.catalogued[resource.schema_name, resource.table_name].table
            )
            for resource in settings.resource
        ]

    @property
    def oids(self) -> list[int]:
        """The shared tables."""
        return [entry.table.oid for entry in self.catalogued.values()]


def judge(settings: Settings, connection: psycopg.Connection[Any]) -> Judgement:
    """Reads catalogue, rights and publication over any role's connection to the database."""
    version = source_facts.server(connection).version
    catalogued = catalogue.tables(
        connection, [(resource.schema_name, resource.table_name) for resource in settings.resource]
    )
    traits = source_facts.traits(connection, [entry.table.oid for entry in catalogued.values()])
    tables: list[Finding] = []
    generated = False
    for resource in settings.resource:
        entry = catalogued.get((resource.schema_name, resource.table_name))
        found = table_checks.check_table(
            resource, entry, traits.get(entry.table.oid) if entry else None, version
        )
        tables += found
        if entry is not None and not errors(found):
            generated = generated or table_checks.needs_generated(resource, entry, version)
    published = catalogue.publication(connection, settings.publication)
    publication = check_publication(settings, published, generated) if published is not None else []
    return Judgement(
        tables,
        check_rights(settings, connection, catalogued),
        publication,
        catalogued,
        generated,
        published,
    )
