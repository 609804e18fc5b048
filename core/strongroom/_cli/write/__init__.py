"""Commands of the group Write: set, delete and generate."""
