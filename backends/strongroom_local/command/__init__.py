"""A command line for each operation as a store."""
