"""MariaDB and MySQL as a business database, read by their binary log."""
