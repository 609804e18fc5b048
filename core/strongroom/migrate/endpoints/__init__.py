"""The sources and the target of a migration: store names, opening, reading and writing."""
