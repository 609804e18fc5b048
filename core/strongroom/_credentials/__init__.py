"""Readers of the credentials in a secret: the address and login of a database, and those of AWS."""
