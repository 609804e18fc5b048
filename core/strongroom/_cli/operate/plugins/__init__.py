"""Commands for plugins: list the installed ones, check a store, create a package."""
