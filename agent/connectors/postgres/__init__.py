"""PostgreSQL by its log: logical replication with pgoutput."""

from agent.connectors.postgres.source import PostgresSource

__all__ = ["PostgresSource"]
