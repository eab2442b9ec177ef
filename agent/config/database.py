"""Settings that every business database has which is read through SQLAlchemy."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from agent.config.inconsistent import Inconsistent
from agent.config.model import Model
from agent.config.secret import Secret
from agent.messages import mark

# What becomes of days that are none, such as 0000-00-00: the table is suspended, they are NULL, or
# columns of dates are texts
ZeroDates = Literal["suspend", "null", "text"]


class DatabaseSettings(Model):
    """How a business database is reached, and how its tables are named."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            description="SQLAlchemy URL without password: sqlite:////folder/business.db, "
            "mariadb+pymysql://user@host/db, mysql+pymysql://user@host/db, "
            "postgresql+psycopg://user@host/db; others: docs/types.md.",
        ),
    ]
    password: Annotated[Secret | None, Field(description="Where the password is.")] = None
    statement_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds after which a statement at the business database is given up.",
        ),
    ] = 20.0

    encoding: Annotated[
        str,
        Field(
            description="Encoding of texts that the database holds in columns declared otherwise, "
            'such as "gbk"; default: as declared. Of SQLite, of columns declared latin1 or ascii '
            "in MariaDB and MySQL, of CHAR and VARCHAR2 in Oracle.",
        ),
    ] = ""

    zero_dates: Annotated[
        ZeroDates,
        Field(
            description="What becomes of days of MariaDB and MySQL that are none, such as "
            "0000-00-00: suspend the table, publish null, or make columns of dates and times text. "
            "In a key they suspend it always."
        ),
    ] = "suspend"

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        """Refuses what is no encoding of texts."""
        if not encoding:
            return ""
        try:
            b"a".decode(encoding)
        except (LookupError, ValueError):
            raise Inconsistent([((), mark("no encoding of texts has this name"), {})]) from None
        return encoding

    def named(self, agent: str) -> Self:
        """Fills in what comes from the agent's name: nothing here does."""
        return self

    @staticmethod
    def place(table: str) -> tuple[str, str]:
        """Reads a table of the configuration as schema, '' for the session's own, and name."""
        schema, _, name = table.rpartition(".")
        return schema, name
