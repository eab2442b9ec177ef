"""The front end in MariaDB and MySQL."""
