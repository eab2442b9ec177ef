"""What a source says and what Kafka receives: changes, value forms, the envelope."""
