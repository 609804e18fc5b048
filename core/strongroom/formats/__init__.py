"""Files of secrets as stores: JSON, YAML, CSV, Kubernetes manifests and `.env`, each read and written exactly."""
