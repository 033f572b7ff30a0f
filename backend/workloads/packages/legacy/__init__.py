"""What a predecessor's database holds, taken over: users, requests, packages, and their history."""

from backend.workloads.packages.legacy.importing import Taken, import_legacy
from backend.workloads.packages.legacy.source import LegacyError

__all__ = ["LegacyError", "Taken", "import_legacy"]
