"""The engine: status rows are the queue. It knows no workload, no web and no worker process.

``docs/engine.md`` states the protocol, the guarantees and what is not guaranteed.
"""
