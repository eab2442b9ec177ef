"""Settings of a business database in PostgreSQL."""

from typing import Annotated, Literal, Self

from pydantic import Field

from agent.config.model import Identifier, Model, Positive
from agent.config.secret import Secret

_LONGEST = 63  # characters of a name in PostgreSQL


class PostgresSettings(Model):
    """The unit's business database, in PostgreSQL."""

    type: Annotated[
        Literal["postgresql", "postgres"],
        Field(description="Kind of source; postgres is an older name of postgresql."),
    ] = "postgresql"
    host: Annotated[
        str,
        Field(
            description="Host name or address of the primary server, or the folder of its socket."
        ),
    ]
    port: Annotated[int, Field(ge=1, le=65535, description="TCP port.")] = 5432
    database: Annotated[
        str, Field(min_length=1, description="Database that holds the shared tables.")
    ]
    user: Annotated[
        str,
        Field(
            min_length=1,
            description="Role with LOGIN REPLICATION and SELECT on the shared columns.",
        ),
    ]
    password: Annotated[
        Secret | None,
        Field(description="Where the password is; none for peer or certificate login."),
    ] = None
    sslmode: Annotated[
        Literal["disable", "prefer", "require", "verify-ca", "verify-full"],
        Field(description="TLS, in libpq's terms; verify-full off this host."),
    ] = "prefer"
    sslrootcert: Annotated[
        str | None,
        Field(
            description="File of the certificate authority that signed the server's certificate."
        ),
    ] = None
    # Their defaults come from the agent's name: see `named`
    slot: Identifier = Field(
        default_factory=str, description="Replication slot; default: sync_agent_<name>."
    )
    publication: Identifier = Field(
        default_factory=str, description="Publication; default: sync_agent_<name>."
    )
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=300,
            description="How often a sign of life is written to the log (no table is touched).",
        ),
    ] = 10.0
    warn_log_bytes: Annotated[
        Positive | None,
        Field(
            description="Log kept for the slot, in bytes, above which check, status and log warn, "
            "and copies wait while the stream is behind. "
            "Default: half of the server's max_slot_wal_keep_size, where that is set.",
        ),
    ] = None
    max_log_bytes: Annotated[
        Positive | None,
        Field(
            description="Log kept for the slot, in bytes, above which a running agent that cannot "
            "go on drops its slot, to spare the business database; after `init --apply` every "
            "table is compared. Default: the slot is kept, however much log that is.",
        ),
    ] = None

    def named(self, agent: str) -> Self:
        """Fills in the names of slot and publication that are not configured."""
        default = f"sync_agent_{agent}"[:_LONGEST]
        names = {
            "slot": self.slot or default,
            "publication": self.publication or default,
        }
        return self.model_copy(update=names)

    @staticmethod
    def place(table: str) -> tuple[str, str]:
        """Reads a table of the configuration as schema, `public` if not given, and name."""
        schema, _, name = table.rpartition(".")
        return schema or "public", name
