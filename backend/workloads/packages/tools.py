"""What the steps work with: one of each for the whole worker, shared by its threads."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backend.queue.breaker import Breaker, Breakers, host_of
from backend.queue.retry import Permanent, Transient
from backend.settings import Settings, SettingsError
from backend.workloads.packages.cache import ContentStore, ContentUnavailable
from backend.workloads.packages.heuristics.guarddog import GuardDog
from backend.workloads.packages.origins import source_registry
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.origin import Origin
from backend.workloads.packages.scanning.findings import Component
from backend.workloads.packages.scanning.osv import AdvisoriesError, load
from backend.workloads.packages.scanning.osv_api import OsvApi
from backend.workloads.packages.scanning.sources import ScanTransient, Source, SourceResult
from backend.workloads.packages.scanning.trivy import TrivyBinary

RETRY_PAUSE = 1.0  # seconds before a scanner's second try, doubling


@dataclass(frozen=True, slots=True)
class VettingTools:
    """``needs_files``: a source looks at a package's unpacked files, not at its name alone.

    ``scanners`` are the breakers of the services behind the sources, all of them in ``breakers``.
    """

    origin: Origin
    cache: ContentStore
    sources: Sequence[Source]
    breakers: Breakers
    scanners: Sequence[Breaker]
    needs_files: bool
    internal_scopes: frozenset[str]
    own_registry: bool
    auto_publish: bool
    download_max_bytes: int
    advisory_max_age: timedelta
    advisories_complete: bool = False
    guarddog: GuardDog | None = None

    @classmethod
    def of(cls, settings: Settings, breakers: Breakers) -> "VettingTools":
        """Open everything the settings name.

        Raises:
            SettingsError: a setting names something that cannot be used.
        """
        token = settings.source_token
        return cls(
            origin=Origin(
                source_registry(settings),
                settings.source_repository_cdns,
                ca_file=settings.source_ca_file,
                token=token.get_secret_value() if token else None,
                timeout=settings.download_timeout,
                breakers=breakers,
            ),
            cache=ContentStore.of(settings),
            sources=tuple(_sources(settings, breakers)),
            breakers=breakers,
            scanners=tuple(
                breakers.of(host_of(url))
                for url in (settings.osv_api_url, settings.trivy_url)
                if url is not None
            ),
            needs_files=trivy_program(settings) is not None or bool(settings.guarddog_binary),
            internal_scopes=scopes(settings.internal_scopes),
            own_registry=settings.source_repository_url is not None,
            auto_publish=settings.auto_publish,
            download_max_bytes=settings.download_max_bytes,
            advisory_max_age=settings.advisory_max_age,
            advisories_complete=settings.advisories_complete,
            guarddog=_guarddog(settings),
        )


def _guarddog(settings: Settings) -> GuardDog | None:
    if settings.guarddog_binary is None:
        return None
    return GuardDog(settings.guarddog_binary, timeout=settings.guarddog_timeout)


def scopes(given: Iterable[str]) -> frozenset[str]:
    """Scopes as package names begin with them, whichever way a setting writes them."""
    return frozenset("@" + scope.removeprefix("@").lower() for scope in given)


def trivy_program(settings: Settings) -> str | None:
    """The Trivy to run, or None for none; a server is asked through the program, too.

    Raises:
        SettingsError: there is a server but no program.
    """
    if settings.trivy_binary is not None or settings.trivy_url is None:
        return settings.trivy_binary
    found = shutil.which("trivy")
    if found is None:
        raise SettingsError("TRIVY_URL needs the trivy program: set TRIVY_BINARY")
    return found


def _sources(settings: Settings, breakers: Breakers) -> Iterator[Source]:
    if settings.osv_path is not None:
        try:
            yield load(settings.osv_path, complete=settings.osv_path_complete)
        except (AdvisoriesError, OSError) as error:
            raise SettingsError(f"OSV_PATH cannot be used: {error}") from None
    if settings.osv_api_url is not None:
        yield OsvApi(settings.osv_api_url, complete=settings.osv_api_complete, breakers=breakers)
    if (binary := trivy_program(settings)) is not None:
        trivy = TrivyBinary(
            binary,
            settings.trivy_cache_dir,
            server_url=settings.trivy_url,
            timeout=settings.trivy_timeout,
            complete=settings.trivy_complete,
            breakers=breakers,
        )
        yield Persistent(trivy, settings.trivy_max_retries)


@dataclass(frozen=True, slots=True)
class Persistent:
    """A source that is asked again, ``retries`` times at most, before the attempt fails.

    An open breaker ends it at once: CircuitOpen is no ScanTransient.
    """

    source: Source
    retries: int

    @property
    def name(self) -> str:
        return self.source.name

    def scan(self, components: Sequence[Component], directory: Path | None) -> SourceResult:
        for tried in range(self.retries):
            try:
                return self.source.scan(components, directory)
            except ScanTransient:
                time.sleep(RETRY_PAUSE * 2**tried)
        return self.source.scan(components, directory)


@contextmanager
def cache_errors(breakers: Breakers) -> Iterator[None]:
    """What goes wrong with the package cache, or with a registry meanwhile, in the engine's words.

    A full disk or a bucket that is away is no row's fault: once it is known, rows wait.
    """
    with registry_errors(), breakers.of("package cache").guard(ContentUnavailable):
        yield


@contextmanager
def registry_errors() -> Iterator[None]:
    """The registry's errors in the engine's words."""
    try:
        yield
    except RegistryTransient as error:
        raise Transient(error.detail, retry_after=error.retry_after) from None
    except RegistryPermanent as error:
        raise Permanent(f"{error.code}: {error.detail}") from None
    except ContentUnavailable as error:
        raise Transient(str(error)) from None
