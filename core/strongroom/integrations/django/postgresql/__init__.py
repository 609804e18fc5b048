"""Database engine of Django for PostgreSQL."""
