"""Settings of the service itself."""

from typing import Annotated, Literal

from pydantic import Field

from agent.config.model import Model
from agent.config.secret import Secret


class ServiceTlsSettings(Model):
    """TLS of the address that the service listens at."""

    cert_file: Annotated[
        str, Field(description="Certificate, followed by those between it and the authority's.")
    ]
    key_file: Annotated[str, Field(description="Key of the certificate, without a password.")]


class ServiceSettings(Model):
    """The service itself."""

    listen: Annotated[
        str,
        Field(
            pattern=r"^\S+:\d+$",
            description="Address of the status page, /metrics, /-/healthy and /-/ready.",
        ),
    ] = "127.0.0.1:9187"
    password: Annotated[
        Secret | None,
        Field(description="Where the password of the status page and /metrics is; absent: none."),
    ] = None
    tls: Annotated[
        ServiceTlsSettings | None, Field(description="TLS of the address; absent: none.")
    ] = None
    standby: Annotated[
        bool,
        Field(
            description="A second host runs this agent, too: whoever holds the front end is "
            "active, the other waits and takes over. The same on both hosts."
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="Readable lines, or one JSON object a line.")
    ] = "text"
    source_disk: Annotated[
        str | None,
        Field(
            pattern="^/",
            description="A folder on the disk to which the business database writes its log, where "
            "that is a disk of this host: its free space becomes a metric. Nothing in it is read. "
            "Default: none.",
        ),
    ] = None
