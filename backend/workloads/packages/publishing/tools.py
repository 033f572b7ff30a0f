"""What the publisher works with: one of each for the whole worker, shared by its threads."""

from dataclasses import dataclass

from backend.queue.breaker import Breakers
from backend.settings import Settings
from backend.workloads.packages.cache import ContentStore
from backend.workloads.packages.publishing.npm import TargetRegistry
from backend.workloads.packages.registry.origin import Origin


@dataclass(frozen=True, slots=True)
class PublishingTools:
    """``source`` is where bytes are fetched from that another worker's cache holds."""

    target: TargetRegistry
    source: Origin
    cache: ContentStore
    breakers: Breakers
    download_max_bytes: int
    unpublishes: bool

    @classmethod
    def of(
        cls, settings: Settings, url: str, *, source: Origin, breakers: Breakers
    ) -> "PublishingTools":
        """For the registry at ``url``.

        Raises:
            SettingsError: a setting names something that cannot be used.
        """
        token = settings.target_token
        target = Origin(
            url,
            ca_file=settings.target_ca_file,
            token=token.get_secret_value() if token else None,
            timeout=settings.download_timeout,
            breakers=breakers,
        )
        return cls(
            target=TargetRegistry(target),
            source=source,
            cache=ContentStore.of(settings),
            breakers=breakers,
            download_max_bytes=settings.download_max_bytes,
            unpublishes=settings.recall_unpublishes,
        )
