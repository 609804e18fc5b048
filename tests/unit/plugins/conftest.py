"""Fixtures for the tests of plugins."""

from support.search_path import search_path

__all__ = ["search_path"]
