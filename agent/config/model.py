"""What all models of the configuration have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
Positive = Annotated[int, Field(gt=0)]


class Model(BaseModel):
    """Strict: unknown keys and wrong types are errors, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
