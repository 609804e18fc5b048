"""Commands of the group Versions: history, diff, rollback, undelete and destroy."""
