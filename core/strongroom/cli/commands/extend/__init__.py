"""Commands for plugins: what is installed, what a store can do, and new ones."""
