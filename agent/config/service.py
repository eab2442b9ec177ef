"""Settings of the service itself."""

from typing import Annotated, Literal

from pydantic import Field

from agent.config.model import Model


class ServiceSettings(Model):
    """The service itself."""

    listen: Annotated[
        str,
        Field(
            pattern=r"^\S+:\d+$",
            description="Address of the status page, /metrics, /-/healthy and /-/ready.",
        ),
    ] = "127.0.0.1:9187"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="Readable lines, or one JSON object a line.")
    ] = "text"
