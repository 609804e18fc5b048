"""Commands for workers that use secrets without seeing them."""
