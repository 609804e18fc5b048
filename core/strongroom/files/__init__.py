"""Files for plugins and the core: reads with a limit of size, and writes that only the user can read."""
