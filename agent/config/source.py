"""The kinds of sources that there are settings for, told apart by `type`."""

from agent.config.postgres import PostgresSettings

# A second kind makes a union of them, with `type` as its discriminator
SourceSettings = PostgresSettings
