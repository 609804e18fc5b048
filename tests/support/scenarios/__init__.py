"""Situations that several tests are about."""
