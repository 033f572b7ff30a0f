"""Opening a verified tarball safely, and asking every source what is known about what is inside.

Nothing here touches the database. ``tarball`` and what it imports stay free of heavy libraries,
because a fresh child process loads them for every package.
"""
