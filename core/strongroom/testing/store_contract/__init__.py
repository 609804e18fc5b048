"""The contract of a store, in parts: reads, writes, versions, failures and migrations."""
