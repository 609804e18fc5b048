"""The readers of credentials in a secret: a database's address and login."""
