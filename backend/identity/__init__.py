"""Who is calling: users, passwords, sign-ins, API keys, roles, rate limits and the audit log.

Only ``guard`` knows Flask; everything else takes a database session and commits nothing.
"""
