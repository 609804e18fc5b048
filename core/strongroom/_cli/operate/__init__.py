"""Commands of the group Operate in `strongroom --help`, with their helpers."""
