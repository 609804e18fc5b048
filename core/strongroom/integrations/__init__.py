"""Connections and frameworks that take their credentials from a chain. Each module imports its library itself."""
