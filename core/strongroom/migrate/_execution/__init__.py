"""Execution of a plan: transfer, verification, undo, and deletion at the source."""
