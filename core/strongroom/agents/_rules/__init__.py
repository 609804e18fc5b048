"""The rules of a session: what they permit, what replaces a placeholder, and what an answer may show."""
