"""Rotators for database servers: PostgreSQL, MySQL and MariaDB, Redis and Valkey."""
