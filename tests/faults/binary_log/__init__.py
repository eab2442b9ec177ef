"""Schedules whose business database is MariaDB or MySQL, read by its binary log."""
