"""The audit log's chain: sealed by a worker, verified by anybody, archived from the front.

Entries are written by ``backend.identity.audit``, in the transaction of the deed, and know nothing
of the chain. It is made afterwards, of what is committed.
"""
