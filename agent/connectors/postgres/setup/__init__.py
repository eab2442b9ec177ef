"""What `init`, `check`, `rebind` and `status` do at a business database in PostgreSQL."""
