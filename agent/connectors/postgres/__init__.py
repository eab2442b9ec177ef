"""PostgreSQL by its log: logical replication with pgoutput."""
