"""The key-value stores, KV version 1 and 2."""
