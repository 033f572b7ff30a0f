"""The wordings that the rules look for, as data; see :mod:`backend.workloads.tasks.edm.wording`."""
