"""Clients in the process of the worker: transports for httpx and httpx2, and an adapter for requests.

The worker's own objects keep the placeholder: the request, its hooks, `response.request` and every exception. The value
is in a copy of the request, which goes to the inner transport. This protects against disclosure by prompts, tools and
the logs of a framework, and values are masked in the logs of the libraries that send the copy. It is not a boundary
against code in the process: frames of the inner transport, `http.client.debuglevel`, and an instrumentation that
patches the inner transport show the copy.
"""
