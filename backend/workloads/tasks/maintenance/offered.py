"""What all workloads offer to be removed."""

from collections.abc import Mapping
from functools import cache

from backend.settings import Settings
from backend.upkeep import Cache, Retained
from backend.workloads import parts


@cache
def retained() -> Mapping[str, Retained]:
    """Every kind of rows that a retention policy may name, by its name."""
    kinds = (kind for module in parts("upkeep") for kind in getattr(module, "RETENTION", ()))
    return {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.name)}


def caches(settings: Settings) -> list[Cache]:
    """Every cache of a worker with these settings."""
    modules = (module for module in parts("upkeep") if hasattr(module, "caches"))
    return [found for module in modules for found in module.caches(settings)]
