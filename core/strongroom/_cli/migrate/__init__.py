"""Commands of the group Migrate in `strongroom --help`, with the views of plans and reports."""
