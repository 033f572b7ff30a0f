"""What is computed of ARI snapshots: figures of each metric, and trends.

``reading`` runs in the worker, ``shapes`` is known to all; the rest runs in a child.
"""
