"""The Secrets and ConfigMaps of a Kubernetes cluster as a store."""
