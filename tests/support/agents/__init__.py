"""Upstreams, a proxy of a company and workers, for tests of the proxy."""
