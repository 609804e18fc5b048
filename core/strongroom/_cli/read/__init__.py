"""Commands of the group Read in `strongroom --help`, with their helpers."""
