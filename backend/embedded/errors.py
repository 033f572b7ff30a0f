class EmbeddedError(Exception):
    """The embedded server cannot be used; the message says in one line why and what to do."""
