"""Secrets by reference: the configuration names where a password is, never the password."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.config.inconsistent import Inconsistent
from agent.errors import SecretMissing
from agent.messages import mark, phrase, system_reason


class Secret(BaseModel):
    """Where a password is read from, at each connection: a changed one needs no restart.

    Exactly one of `file` (a path), `credential` (a name below systemd's $CREDENTIALS_DIRECTORY)
    and `env` (development only, refused unless `allow_env_secrets = true`).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file: Annotated[
        str | None, Field(description="Path of a file that holds the secret and nothing else.")
    ] = None
    credential: Annotated[
        str | None, Field(description="Name of a systemd credential (LoadCredential=).")
    ] = None
    env: Annotated[
        str | None,
        Field(description="Name of an environment variable; needs allow_env_secrets = true."),
    ] = None

    @model_validator(mode="after")
    def _one_place(self) -> "Secret":
        if sum(place is not None for place in (self.file, self.credential, self.env)) != 1:
            raise Inconsistent(
                [
                    (
                        (),
                        mark(
                            'name exactly one place: { file = "..." }, '
                            '{ credential = "..." } or { env = "..." }'
                        ),
                        {},
                    )
                ]
            )
        return self

    def read(self, setting: str) -> str:
        """The secret without a trailing newline. `setting` is the dotted path named in the error.

        Raises SecretMissing.
        """
        if self.env is not None:
            if self.env not in os.environ:
                raise SecretMissing(
                    setting=setting,
                    reason=phrase("the environment variable {env} is not set", env=self.env),
                )
            return os.environ[self.env]
        path = self._path(setting)
        try:
            return path.read_text(encoding="utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = phrase("it is not UTF-8 text")
            reason = system_reason(error) if isinstance(error, OSError) else why
            raise SecretMissing(
                setting=setting, reason=phrase("{path}: {reason}", path=path, reason=reason)
            ) from None

    def _path(self, setting: str) -> Path:
        if self.file is not None:
            return Path(self.file)
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            raise SecretMissing(
                setting=setting,
                reason=phrase(
                    "credential {credential}: not started by systemd ($CREDENTIALS_DIRECTORY is "
                    "not set)",
                    credential=self.credential,
                ),
            )
        return Path(directory) / str(self.credential)
