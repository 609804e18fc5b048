"""Command of the group Rotate in `strongroom --help`."""
