"""Reports: the result for each secret, as Python objects, JSON and HTML."""
