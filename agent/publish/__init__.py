"""Everything that speaks to Kafka.

The relay empties the outbox through a transactional producer; the state record and recovery make it
exactly once.
"""
