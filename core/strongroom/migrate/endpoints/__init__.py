"""The source and the target of a migration: their names, how they are opened, and what is selected."""
