"""Stores in an SQL database, through SQLAlchemy: SQLite, PostgreSQL, MariaDB and MySQL."""
