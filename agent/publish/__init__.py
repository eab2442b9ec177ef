"""Everything that speaks to Kafka: the transactional producer, its state record, recovery, and the relay that empties the outbox."""
