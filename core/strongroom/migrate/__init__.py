"""Moving secrets between stores: planned, resumed, verified and undone."""
