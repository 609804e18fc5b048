"""Calls of the chain as a thread and as an event loop make them."""
