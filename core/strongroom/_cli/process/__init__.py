"""A command as a child process: its environment, its signals and its exit code."""
