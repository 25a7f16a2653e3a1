"""Stores in an SQL database, by SQLAlchemy: SQLite, PostgreSQL, MariaDB and MySQL."""
