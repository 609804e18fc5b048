"""File formats as stores: JSON, YAML, CSV, Kubernetes manifests and `.env`, read and written exactly."""
