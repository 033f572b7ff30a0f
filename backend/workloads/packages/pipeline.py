"""The packages workload's work: a step for each stage of its queue."""

from datetime import timedelta

from backend.queue.breaker import Breakers
from backend.queue.pipeline import Isolation, Pipeline, Step
from backend.settings import Settings
from backend.workloads.packages import recording
from backend.workloads.packages.lifecycle import DOWNLOAD, INSPECT, LICENCE, SCAN, VETTING_QUEUE
from backend.workloads.packages.snapshot import reader
from backend.workloads.packages.steps import private_copy
from backend.workloads.packages.steps.download import fetch_bytes, with_bytes
from backend.workloads.packages.steps.inspect import inspect_tarball, rehearse
from backend.workloads.packages.steps.licence import check_licence, with_record
from backend.workloads.packages.steps.scan import Inspected, scan, with_inspection
from backend.workloads.packages.tools import VettingTools

INSPECT_SECONDS = 120
INSPECT_MEMORY = 1024 * 1024 * 1024  # bytes of address space; a 100 MB tarball needs half of it
SLACK = timedelta(seconds=60)


def pipelines(settings: Settings, breakers: Breakers | None = None) -> list[Pipeline]:
    """What a worker with these settings can do; ``breakers`` watch the hosts that it asks.

    Raises:
        SettingsError: a setting names something that cannot be used.
    """
    tools = VettingTools.of(settings, breakers or Breakers())
    asking = settings.download_timeout + SLACK
    scanning = settings.trivy_timeout * (settings.trivy_max_retries + 1) + SLACK
    return [
        Pipeline(
            queue=VETTING_QUEUE,
            read=reader(tools.cache),
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
                    timeout=asking,
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
                    prepare=private_copy.prepare,
                    rehearse=rehearse,
                    carry=with_inspection,
                    rides=True,
                ),
                Step(SCAN, scan, write=recording.of_scan, timeout=scanning),
            ),
        )
    ]
