"""Azure Key Vault as a store."""
