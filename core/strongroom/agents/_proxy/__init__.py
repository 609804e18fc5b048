"""The proxy of `strongroom agent`, and the worker that it serves. `server`, `flows` and `layers` import mitmproxy."""
