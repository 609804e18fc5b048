"""Work with a secret that the worker never sees: rules, placeholders, and the doors that replace them.

The doors are commands, and no module of this package is published: `strongroom agent run` and `strongroom agent serve`
have a proxy, and `strongroom mcp` serves tools.
"""
