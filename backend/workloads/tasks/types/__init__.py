"""One module for each task type, see :mod:`backend.workloads.tasks.registry`."""
