"""Frameworks of web applications."""
