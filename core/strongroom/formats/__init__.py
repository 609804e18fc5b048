"""Formats of texts: strict JSON, `.env`, durations, names of variables, and the data of Kubernetes Secrets."""
