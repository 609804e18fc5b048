"""Google Secret Manager, as a store of Strongroom."""
