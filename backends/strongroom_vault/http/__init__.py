"""Requests to a Vault cluster: request policy, drivers, TLS, nodes, and read-after-write consistency."""
