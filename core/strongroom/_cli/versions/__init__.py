"""Commands of the group Versions in `strongroom --help`."""
