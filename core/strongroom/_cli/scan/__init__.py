"""Command of the group Scan: known values in streams, files, archives and the history of a git repository."""
