"""Work with a secret that the worker never sees: rules, placeholders, and the doors that replace them."""
