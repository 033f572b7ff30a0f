"""Fetching from a package registry: guarded addresses, bounded answers, verified bytes."""
