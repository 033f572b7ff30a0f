"""The Splunk workload's work: an archive is parsed, in a process of its own."""

from datetime import timedelta
from typing import Final

from backend.queue.pipeline import Isolation, Pipeline, Step
from backend.settings import Settings, SettingsError
from backend.storage.configured import blobs_of
from backend.workloads.splunk import recording, snapshot
from backend.workloads.splunk.housekeeping import duties
from backend.workloads.splunk.keys import master_key
from backend.workloads.splunk.lifecycle import PARSE, SPLUNK_QUEUE
from backend.workloads.splunk.steps.parse import parse
from backend.workloads.splunk.steps.rehearsal import rehearse

__all__ = ["duties", "pipelines"]

PARSE_TIME: Final = timedelta(seconds=3600)
PARSE_SOFT: Final = timedelta(seconds=3300)
PARSE_MEMORY: Final = 1024 * 1024 * 1024  # bytes of address space; a fifth of it is resident


def pipelines(settings: Settings) -> list[Pipeline]:
    """What a worker with these settings can do: nothing without SPLUNK_KEY, and runs wait then.

    Raises:
        SettingsError: WORKER_TYPE asks for this queue by name, and there is no key.
    """
    if settings.splunk_key is None:
        if SPLUNK_QUEUE.name in settings.worker_type:
            raise SettingsError(f"WORKER_TYPE={SPLUNK_QUEUE.name} needs SPLUNK_KEY")
        return []
    key, blobs = master_key(settings), blobs_of(settings)
    return [
        Pipeline(
            queue=SPLUNK_QUEUE,
            read=snapshot.reader(key),
            batch=1,  # one may take an hour: what waits is better left to another worker
            steps=(
                Step(
                    PARSE,
                    parse,
                    recording.save,
                    bulk=recording.replace,
                    timeout=PARSE_TIME,
                    soft_timeout=PARSE_SOFT,
                    isolation=Isolation.PROCESS,
                    memory=PARSE_MEMORY,
                    result=recording.Parsed,
                    prepare=snapshot.bringer(blobs),
                    rehearse=rehearse,
                ),
            ),
        )
    ]
