"""The token of a store: login, renewal, revocation, and the meaning of a 403."""
