"""etcd as a store."""
