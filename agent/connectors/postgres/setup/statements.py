"""Writes the SQL that the owner of the business database runs, or `init` runs for them.

Every identifier is quoted.
"""

from collections.abc import Iterable, Sequence

from psycopg import sql

from agent.config import PostgresSettings, ResourceSettings
from agent.connectors.postgres.setup.subscription import Subscription

_CREATE_ROLE = "CREATE ROLE {role} LOGIN REPLICATION"
_ALTER_ROLE = "ALTER ROLE {role} LOGIN REPLICATION"
_WITH_VERIFIER = " PASSWORD {verifier}"
_BYPASS_RLS = "ALTER ROLE {role} BYPASSRLS"
_CONNECT = "GRANT CONNECT ON DATABASE {database} TO {role}"
_USAGE = "GRANT USAGE ON SCHEMA {schema} TO {role}"
_SELECT = "GRANT SELECT ({columns}) ON TABLE {table} TO {role}"
_CREATE_PUBLICATION = "CREATE PUBLICATION {publication} FOR TABLE {tables} WITH ({options})"
_ADD_TABLES = "ALTER PUBLICATION {publication} ADD TABLE {tables}"
_SET_TABLES = "ALTER PUBLICATION {publication} SET TABLE {tables}"
_SET_OPTIONS = "ALTER PUBLICATION {publication} SET ({options})"
_DROP_PUBLICATION = "DROP PUBLICATION {publication}"
_DROP_SLOT = "SELECT pg_drop_replication_slot({slot})"
_DROP_RIGHTS = "DROP OWNED BY {role}"
_DROP_ROLE = "DROP ROLE {role}"
VIA_ROOT = "publish_via_partition_root = true"
ALL_OPERATIONS = "publish = 'insert, update, delete, truncate'"
GENERATED = "publish_generated_columns = stored"


def statement(template: str, **parts: str | sql.Composable) -> str:
    """A template with its names filled in: a str becomes a quoted identifier."""
    return (
        sql.SQL(template)
        .format(
            **{
                name: sql.Identifier(part) if isinstance(part, str) else part
                for name, part in parts.items()
            }
        )
        .as_string()
    )


def table(schema: str, name: str) -> sql.Identifier:
    """A qualified table."""
    return sql.Identifier(schema, name)


def columns(names: Iterable[str]) -> sql.Composed:
    """A list of columns."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def table_of(resource: ResourceSettings) -> sql.Identifier:
    """The source table of a resource."""
    return sql.Identifier(*PostgresSettings.place(resource.table))


def role(user: str, exists: bool = False, verifier: str = "") -> str:
    """Makes the agent's role, or gives an existing one what it lacks.

    The password of a new one is set by its SCRAM verifier, if there is one.
    """
    template = _ALTER_ROLE
    if not exists:
        template = _CREATE_ROLE + (_WITH_VERIFIER if verifier else "")
    return statement(template, role=user, verifier=sql.Literal(verifier))


def bypass_row_security(subscription: Subscription) -> str:
    """Lets the agent see every row where a policy would hide some."""
    return statement(_BYPASS_RLS, role=subscription.source.user)


def connect(subscription: Subscription) -> str:
    """Lets the role into the database."""
    return statement(_CONNECT, database=subscription.source.database, role=subscription.source.user)


def usage(subscription: Subscription, schema: str) -> str:
    """Lets the role see a schema's tables."""
    return statement(_USAGE, schema=schema, role=subscription.source.user)


def select(subscription: Subscription, resource: ResourceSettings, names: Sequence[str]) -> str:
    """Lets the role read these columns of a shared table."""
    return statement(
        _SELECT, columns=columns(names), table=table_of(resource), role=subscription.source.user
    )


def grants(subscription: Subscription, of_keys: Iterable[str] = ()) -> list[str]:
    """Grants the least rights: reading the listed and tested columns, nothing else.

    `of_keys`: schemas of the keys' types and operators, which the agent names where it asks for
    rows past a key.
    """
    schemas = dict.fromkeys(
        [
            *(subscription.place(resource)[0] for resource in subscription.resources),
            *sorted(of_keys),
        ]
    )
    return [
        connect(subscription),
        *(usage(subscription, schema) for schema in schemas),
        *(
            select(subscription, resource, resource.needed_columns)
            for resource in subscription.resources
        ),
    ]


def _tables(resources: Iterable[ResourceSettings]) -> sql.Composed:
    """Lists tables with ONLY; partitions come all the same.

    Inheritance children are tables of their own, and one without a key would make its UPDATE fail.
    """
    return sql.SQL(", ").join(sql.SQL("ONLY ") + table_of(resource) for resource in resources)


def create_publication(subscription: Subscription, generated: bool) -> str:
    """Publishes tables and nothing else.

    A column list or a filter could make the application's statements fail.
    """
    options = sql.SQL(f"{VIA_ROOT}, {GENERATED}" if generated else VIA_ROOT)
    return statement(
        _CREATE_PUBLICATION,
        publication=subscription.publication,
        tables=_tables(subscription.resources),
        options=options,
    )


def add_tables(subscription: Subscription, resources: Iterable[ResourceSettings]) -> str:
    """Adds tables to the publication."""
    return statement(_ADD_TABLES, publication=subscription.publication, tables=_tables(resources))


def set_tables(subscription: Subscription) -> str:
    """Makes the publication list exactly the shared tables, without column lists and filters."""
    return statement(
        _SET_TABLES, publication=subscription.publication, tables=_tables(subscription.resources)
    )


def set_options(subscription: Subscription, option: str) -> str:
    """Sets one option of the publication."""
    return statement(_SET_OPTIONS, publication=subscription.publication, options=sql.SQL(option))


def drop_publication(name: str) -> str:
    """Drops the publication."""
    return statement(_DROP_PUBLICATION, publication=name)


def drop_slot(slot: str) -> str:
    """Drops the replication slot."""
    return statement(_DROP_SLOT, slot=sql.Literal(slot))


def drop_role(user: str) -> list[str]:
    """Takes all rights in this database from the role, which must own nothing, and drops it."""
    return [statement(_DROP_RIGHTS, role=user), statement(_DROP_ROLE, role=user)]
