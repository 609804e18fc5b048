"""Stores that other programs of this machine hold."""
