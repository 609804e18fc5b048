"""Rotators of database servers, and of credentials that no server of ours has to be told.

PostgreSQL, MySQL and MariaDB, Redis and Valkey; passwords, tokens, signing keys, and programs of the user.
"""
