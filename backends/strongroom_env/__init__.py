"""Stores on this machine: the process environment, .env files, and a folder of files."""
