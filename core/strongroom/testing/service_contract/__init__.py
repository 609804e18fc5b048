"""The contract of a store that asks a service: its parts, and the base that they share."""
