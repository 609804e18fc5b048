"""A KeePass database as a store."""
