"""Asks a server, for `init` and `check`, what they judge: what it logs, rights, shared tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from agent.config import ResourceSettings
from agent.connectors.database import catalogue
from agent.connectors.database.catalogue import ReadTable
from agent.connectors.database.judging import answers, names_of, suspect_texts
from agent.connectors.database.session import Database
from agent.connectors.mysql import rights
from agent.connectors.mysql.found_tables import changing_keys, found_table
from agent.connectors.mysql.log_findings import Reader, judged_log
from agent.connectors.mysql.server import Server, server_of
from agent.connectors.mysql.server_findings import judged_server, logs_cascades
from agent.connectors.mysql.table_findings import judged_columns, judged_kind
from agent.connectors.mysql.table_findings import judged_log as judged_rows
from agent.connectors.table import TableName
from agent.errors import AgentError, ReadRefused
from agent.findings import Finding, error, errors, failed, ok
from agent.messages import mark, translate


class Inspection(NamedTuple):
    """What was found."""

    findings: Sequence[Finding]
    tables: Mapping[str, ReadTable]  # those that can be followed, by resource
    server: Server
    account: str  # as a GRANT names it


class Inspector:
    """Asks over one connection. `server_id`: what the agent reads the log as."""

    def __init__(
        self,
        database: Database,
        places: Mapping[TableName, ResourceSettings],
        server_id: int,
        *,
        has_standby: bool,
    ) -> None:
        self._database = database
        self._places = places
        self._server_id = server_id
        self._has_standby = has_standby

    def inspect(self) -> Inspection:
        """Returns what stands against the server and each table. Raises the connection's errors."""
        database = self._database
        findings = list(answers(database))
        connection = database.connect()
        try:
            with database.guarded():
                server = server_of(connection)
                account = rights.account_of(connection)
                findings += self._other_kind(server)
                findings += judged_server(server)

            read_tables = {}
            for place, resource in self._places.items():
                read, of_table = self._table(connection, server, account, place, resource)
                findings += of_table
                if read is not None and not errors(of_table):
                    read_tables[resource.name] = read

            reader = Reader(account, self._server_id, self._has_standby)
            schemas = {self._full(place)[0] for place in self._places}
            with database.guarded():
                findings += judged_log(connection, server, reader, schemas)
        finally:
            connection.close()
        return Inspection(findings, read_tables, server, account)

    def _full(self, place: TableName) -> TableName:
        """Returns a place with its schema."""
        return place[0] or self._database.name, place[1]

    def _other_kind(self, server: Server) -> Iterator[Finding]:
        """Yields that the URL names the other one of the two."""
        if server.is_mariadb == (self._database.dialect.name == "MariaDB"):
            return
        kind = "mariadb" if server.is_mariadb else "mysql"
        message = mark("source.url names another kind of server than {server}")
        fix = mark("Let source.url begin with {kind}+pymysql://")
        yield error("URL_KIND", message, translate(fix, kind=kind), server=server.name)

    # ---- tables

    def _table(
        self,
        connection: Connection,
        server: Server,
        account: str,
        place: TableName,
        resource: ResourceSettings,
    ) -> tuple[ReadTable | None, list[Finding]]:
        """Returns a table, if it can be read, and what stands against following it."""
        database = self._database
        grant = rights.grant_table(self._full(place), account)
        names = names_of(resource)
        try:
            with database.guarded(resource.name, resource.table):
                found = found_table(connection, place, database.name)
                if found is None:
                    message = mark(
                        "{resource}: the source table {table} does not exist, or the account "
                        "{account} may not read it"
                    )
                    return None, [error("TABLE_MISSING", message, grant, **names, account=account)]
                of_kind = list(judged_kind(resource, self._full(place), found))
                if of_kind:
                    return None, of_kind
                read = catalogue.tables(connection, database.dialect, {place: ()})[place]
                keys = changing_keys(connection, place)
        except ReadRefused:
            message = mark("{resource}: the account {account} may not read all of table {table}")
            return None, [error("RIGHT_MISSING", message, grant, **names, account=account)]
        except AgentError as cause:
            return None, [failed(cause)]

        findings = list(judged_columns(resource, read))
        findings += judged_rows(resource, read, found, () if logs_cascades(server) else keys)
        findings += suspect_texts(database, connection, resource, read)
        if not errors(findings):
            message = mark("{resource}: table {table} can be followed, its key is ({key})")
            findings.append(ok("TABLE_OK", message, **names, key=", ".join(read.table.key)))
        return read, findings
