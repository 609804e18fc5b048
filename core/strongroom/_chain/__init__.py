"""The chain of responsibility: ordered links, each with its policy, its cache and its circuit breaker."""
