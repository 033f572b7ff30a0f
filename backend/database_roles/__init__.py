"""Roles of the database, one for each part of the house, and what each may do to what.

``rights`` is the one table of it; ``granting`` brings a database in line with it; ``founding``
makes the roles and hands them the tables.
"""
