"""Commands of the group Write in `strongroom --help`, with their helpers."""
