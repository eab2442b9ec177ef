"""Judges the publication as it stands. No I/O.

It must carry every shared table whole, and make no statement of the application fail.
"""

from collections.abc import Iterator

from agent.config import PostgresSettings, ResourceSettings
from agent.connectors.postgres.catalogue import Publication
from agent.connectors.postgres.setup import statements
from agent.connectors.postgres.setup.subscription import Subscription
from agent.findings import Finding, error, ok, warning
from agent.messages import mark, translate


def check_publication(
    subscription: Subscription, publication: Publication, generated: bool
) -> list[Finding]:
    """Returns everything wrong with it; one ok finding where nothing is.

    `generated`: stored generated columns must be published.
    """
    found = [
        *_tables(subscription, publication),
        *_options(subscription, publication, generated),
        *_others(subscription, publication),
    ]
    if not found:
        found.append(
            ok(
                "PUBLICATION_OK",
                mark("The publication {publication} carries every shared table"),
                publication=subscription.publication,
            )
        )
    return found


def missing(subscription: Subscription, publication: Publication) -> list[ResourceSettings]:
    """Returns the shared tables it does not carry."""
    if publication.all_tables:
        return []
    return [r for r in subscription.resources if _name(r) not in publication.tables]


def _tables(subscription: Subscription, publication: Publication) -> Iterator[Finding]:
    named = {"publication": subscription.publication}
    if publication.all_tables:
        message = mark(
            "The publication {publication} is FOR ALL TABLES: it works, "
            "and makes UPDATE and DELETE fail on any table without a key, shared or not"
        )
        yield warning("PUBLICATION_ALL_TABLES", message, _anew(), **named)
        return
    absent = missing(subscription, publication)
    if absent:
        message = mark("The publication {publication} lacks {tables}")
        fix = statements.add_tables(subscription, absent) + ";"
        yield error(
            "PUBLICATION_TABLES",
            message,
            fix,
            **named,
            tables=", ".join(resource.table for resource in absent),
        )
    for what, code, place in (
        (mark("row filter"), "PUBLICATION_FILTER", 0),
        (mark("column list"), "PUBLICATION_COLUMNS", 1),
    ):
        limited = [
            resource.table
            for resource in subscription.resources
            if publication.tables.get(_name(resource), (False, False))[place]
        ]
        if limited:
            yield _limited(subscription, code, what, limited)


def _limited(subscription: Subscription, code: str, what: str, tables: list[str]) -> Finding:
    message = mark(
        "The publication {publication} has a {what} on {tables}: "
        "it can make the application's own statements fail, and hides changes from the agent"
    )
    fix = statements.set_tables(subscription) + ";"
    return error(
        code,
        message,
        fix,
        publication=subscription.publication,
        what=translate(what),
        tables=", ".join(tables),
    )


def _options(
    subscription: Subscription, publication: Publication, generated: bool
) -> Iterator[Finding]:
    named = {"publication": subscription.publication}
    if len(publication.operations) < len("iudt"):
        message = mark(
            "The publication {publication} does not publish all of insert, update, "
            "delete and truncate"
        )
        yield error(
            "PUBLICATION_OPERATIONS",
            message,
            statements.set_options(subscription, statements.ALL_OPERATIONS) + ";",
            **named,
        )
    if not publication.via_root:
        message = mark(
            "The publication {publication} lacks publish_via_partition_root: "
            "partitioned tables would come as their partitions"
        )
        yield error(
            "PUBLICATION_ROOT",
            message,
            statements.set_options(subscription, statements.VIA_ROOT) + ";",
            **named,
        )
    if generated and publication.generated != "s":
        message = mark(
            "The publication {publication} lacks publish_generated_columns: "
            "generated columns would be missing, or the application's UPDATE could fail"
        )
        yield error(
            "PUBLICATION_GENERATED",
            message,
            statements.set_options(subscription, statements.GENERATED) + ";",
            **named,
        )


def _others(subscription: Subscription, publication: Publication) -> Iterator[Finding]:
    others = sorted(
        ".".join(name)
        for name in set(publication.tables)
        - {_name(resource) for resource in subscription.resources}
    )
    if others:
        message = mark("The publication {publication} carries tables that are not shared: {tables}")
        yield warning(
            "PUBLICATION_OTHERS",
            message,
            statements.set_tables(subscription) + ";",
            publication=subscription.publication,
            tables=", ".join(others),
        )


def _name(resource: ResourceSettings) -> tuple[str, str]:
    return PostgresSettings.place(resource.table)


def _anew() -> str:
    return translate(
        mark(
            "Better, before the agent has started: drop it and let `sync-agent init --apply` "
            "create one for the shared tables alone."
        )
    )
