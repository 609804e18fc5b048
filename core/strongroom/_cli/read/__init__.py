"""Commands of the group Read: get, list, explain, run, inject and export, and the rows of `[secrets]` for others."""
