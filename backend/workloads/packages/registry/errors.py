"""What can go wrong with a registry, told apart by whether another attempt may help."""

from datetime import timedelta


class RegistryError(Exception):
    """The registry did not give what was asked for.

    Args:
        detail: one sentence a person can act on; holds no credential and no query string.
        code: stable, machine-readable, kebab-case.
    """

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class RegistryTransient(RegistryError):
    """Worth another attempt: a time-out, a lost connection, an overloaded or garbled registry.

    Args:
        retry_after: how long the registry asked us to wait, at most an hour; None = it did not say.
    """

    def __init__(
        self, detail: str, retry_after: timedelta | None = None, code: str = "registry-unavailable"
    ) -> None:
        super().__init__(detail, code)
        self.retry_after = retry_after


class RegistryPermanent(RegistryError):
    """Another attempt would end the same way: missing, denied, refused or the wrong bytes.

    Args:
        status: the HTTP status that said so; None where no status did.
    """

    def __init__(self, detail: str, code: str, status: int | None = None) -> None:
        super().__init__(detail, code)
        self.status = status
