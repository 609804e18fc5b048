"""A file of SOPS as a store."""
