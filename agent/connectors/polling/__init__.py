"""A business database that is polled: looks at its tables find the rows that have changed."""
