"""The commands that are always there. Each module is imported when its command is called."""
