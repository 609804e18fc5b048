"""Programs that tests run as child processes."""
