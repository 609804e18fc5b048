"""The rules of a session: permitted requests, the values of placeholders, and redaction of answers."""
