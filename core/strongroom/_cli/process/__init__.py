"""Child processes of `strongroom run`: signals, exit codes, and the environment that they receive."""
