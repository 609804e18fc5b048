"""`strongroom migrate`, `copy` and `mapping`, with the views of plans and reports."""
