"""Deliberately broken plugins and plugins of a third party, for the tests of the contracts."""
