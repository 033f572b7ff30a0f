"""Putting vetted bytes into the house's own npm registry, and taking them back."""
