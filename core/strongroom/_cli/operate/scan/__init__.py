"""`strongroom scan`: search for known values in streams, files, archives and the history of a git repository."""
