"""`strongroom dev`: a local development server."""
