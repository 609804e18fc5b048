"""Commands of the group Maintain: the audit log and the cache on disk."""
