"""Plans: the state of each secret before a migration, the mapping file, and the planner. No value is in a plan."""
