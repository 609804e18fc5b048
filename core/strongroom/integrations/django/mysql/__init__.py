"""A database engine of Django."""
