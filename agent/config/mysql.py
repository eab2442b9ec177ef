"""Settings of a business database in MariaDB or MySQL whose binary log is read."""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from agent.config.database import DatabaseSettings
from agent.config.inconsistent import Inconsistent
from agent.messages import mark

_DRIVERS = ("mariadb+pymysql", "mysql+pymysql")
_FIRST_ID = 1_000_000_000  # of the server ids that are made of names


class MySqlSettings(DatabaseSettings):
    """The unit's business database, in MariaDB or MySQL, whose binary log is read."""

    type: Annotated[Literal["mysql"], Field(description="Kind of source.")]
    server_id: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**32 - 1,
            description="Number by which the server knows the agent; no server and no other reader "
            "of its log may have the same. Default: one above 1000000000, made of the agent's "
            "name.",
        ),
    ] = None
    heartbeat_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=300,
            description="How often the agent stores how far it has read, where no shared table "
            "changes.",
        ),
    ] = 10.0

    def named(self, agent: str) -> Self:
        """Fills in a server id that is not configured."""
        return self.model_copy(update={"server_id": self.server_id or _id_of(agent)})

    @property
    def reader_id(self) -> int:
        """The server id, once the settings are complete."""
        assert self.server_id is not None
        return self.server_id

    @field_validator("url")
    @classmethod
    def _of_pymysql(cls, url: str) -> str:
        """Refuses other databases, and other drivers: none of them hands out the log."""
        driver, separator, _ = url.partition("://")
        if driver not in _DRIVERS or not separator:
            text = mark(
                "write mariadb+pymysql://user@host/database or mysql+pymysql://user@host/database"
            )
            raise Inconsistent([((), text, {})])
        return url

    @field_validator("encoding")
    @classmethod
    def _declared(cls, encoding: str) -> str:
        """Refuses another encoding than the declared one, which the log knows of each column."""
        if encoding:
            text = mark(
                'take it out: texts in another encoding than declared need type = "polling"'
            )
            raise Inconsistent([((), text, {})])
        return encoding


def _id_of(agent: str) -> int:
    """Returns a server id made of an agent's name, above those that administrators give."""
    digest = hashlib.blake2b(agent.encode(), digest_size=4).digest()
    return _FIRST_ID + int.from_bytes(digest, "big") % _FIRST_ID
