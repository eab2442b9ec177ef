"""What each database does in its own way when it is read through SQLAlchemy: a file each."""
