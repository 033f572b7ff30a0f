"""What can be shown for one request: the bundle, why a package is there, the lock to install by.

Pure but for ``reading``, which holds the statements.
"""
