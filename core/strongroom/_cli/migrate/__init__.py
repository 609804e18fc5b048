"""Commands of the group Migrate: migrate, copy and mapping, with the views of plans, progress and reports."""
