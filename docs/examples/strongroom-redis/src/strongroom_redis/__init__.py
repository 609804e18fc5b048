"""A store of secrets in Redis or Valkey."""
