"""Command of the group Rotate."""
