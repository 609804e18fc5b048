"""Google Secret Manager as a store."""
