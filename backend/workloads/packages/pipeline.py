"""The packages workload's work: a step for each stage of its queue."""

from datetime import timedelta
from functools import partial

from backend.queue.breaker import Breakers
from backend.queue.duty import Duty
from backend.queue.pipeline import Isolation, Pipeline, Step
from backend.settings import Settings, SettingsError
from backend.workloads.packages import housekeeping, recording
from backend.workloads.packages.lifecycle import (
    DOWNLOAD,
    INSPECT,
    LICENCE,
    PUBLISH,
    PUBLISHING_QUEUE,
    SCAN,
    VETTING_QUEUE,
)
from backend.workloads.packages.publishing import snapshot as publishing
from backend.workloads.packages.publishing.recording import of_publishing
from backend.workloads.packages.publishing.tools import PublishingTools
from backend.workloads.packages.snapshot import read
from backend.workloads.packages.steps import private_copy
from backend.workloads.packages.steps.download import fetch_bytes, with_bytes
from backend.workloads.packages.steps.inspect import inspect_tarball, rehearse
from backend.workloads.packages.steps.licence import check_licence, with_record
from backend.workloads.packages.steps.publish import publish
from backend.workloads.packages.steps.scan import Inspected, scan, with_inspection
from backend.workloads.packages.tools import VettingTools
from backend.workloads.packages.waivers import settling

INSPECT_SECONDS = 120
INSPECT_MEMORY = 1024 * 1024 * 1024  # bytes of address space; a 100 MB tarball needs half of it
SLACK = timedelta(seconds=60)
SHARED = timedelta(seconds=400)
"""What the shared store's own limits add up to: it is asked and given bytes, thrice each."""


def pipelines(settings: Settings, breakers: Breakers | None = None) -> list[Pipeline]:
    """What a worker with these settings can do; ``breakers`` watch the hosts that it asks.

    Without a registry to publish to, what was approved waits.

    Raises:
        SettingsError: a setting names something that cannot be used.
    """
    tools = VettingTools.of(settings, breakers or Breakers())
    url = settings.target_repository_url
    if url is None and PUBLISHING_QUEUE.name in settings.worker_type:
        raise SettingsError(f"WORKER_TYPE={PUBLISHING_QUEUE.name} needs TARGET_REPOSITORY_URL")
    return [vetting(settings, tools), *([publisher(settings, tools, url)] if url else [])]


def duties(settings: Settings) -> list[Duty]:
    """What a worker does besides: verdicts follow the waivers in force; its cache stays small."""
    return [settling.DUTY, *housekeeping.duties(settings)]


def publisher(settings: Settings, tools: VettingTools, url: str) -> Pipeline:
    """The queue of what was approved, to the registry at ``url``.

    Raises:
        SettingsError: as :func:`pipelines` does.
    """
    return Pipeline(
        queue=PUBLISHING_QUEUE,
        read=publishing.read,
        tools=PublishingTools.of(settings, url, source=tools.origin, breakers=tools.breakers),
        breakers=tools.breakers,
        batch=settings.worker_max_packages_per_cycle,
        steps=(
            Step(
                PUBLISH,
                publish,
                write=of_publishing,
                # To take back a version is at most five requests, to publish one four.
                timeout=settings.download_timeout * 6 + SLACK * 3 + SHARED,
            ),
        ),
    )


def vetting(settings: Settings, tools: VettingTools) -> Pipeline:
    """The queue of what was asked for."""
    asking = settings.download_timeout + SLACK
    scanning = settings.trivy_timeout * (settings.trivy_max_retries + 1) + SLACK + SHARED
    scanning += settings.guarddog_timeout
    return Pipeline(
        queue=VETTING_QUEUE,
        read=read,
        tools=tools,
        breakers=tools.breakers,
        batch=settings.worker_max_packages_per_cycle,
        steps=(
            Step(
                LICENCE,
                check_licence,
                write=recording.of_licence,
                timeout=asking * 2,
                carry=with_record,
                rides=True,
            ),
            Step(
                DOWNLOAD,
                fetch_bytes,
                recording.save_download,
                write=recording.of_download,
                timeout=asking + SHARED,
                carry=with_bytes,
                rides=True,
            ),
            Step(
                INSPECT,
                inspect_tarball,
                write=recording.of_inspection,
                timeout=timedelta(seconds=INSPECT_SECONDS),
                isolation=Isolation.PROCESS,
                memory=INSPECT_MEMORY,
                result=Inspected,
                prepare=partial(private_copy.prepare, tools),
                rehearse=rehearse,
                carry=with_inspection,
                rides=True,
            ),
            Step(SCAN, scan, write=recording.of_scan, timeout=scanning),
        ),
    )
