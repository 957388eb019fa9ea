"""Serves a function_app.py on one machine from its own decorators, as the Functions host would.

`python -m dev.host` reads the app's routes, triggers and host.json, so it cannot drift from the app. What a
function gets and how its answer is read goes through the converters of azure-functions, as in Microsoft's
Python worker.

Not served, and refused at start: other triggers and bindings, batches (cardinality many), sessions, Service
Bus bodies that are not BINARY, namespaces without a connection string. Different from Azure: timers keep no
schedule on disk, so past_due is never true; a str that a function returns is sent as it is; prefetch is
shared out over the receivers.
"""
