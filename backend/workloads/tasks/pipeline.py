"""The tasks workload's work: each task is done as its type says."""

from importlib.util import find_spec
from typing import Final

from backend.queue.duty import Duty
from backend.queue.pipeline import Choice, Pipeline
from backend.settings import Settings, SettingsError
from backend.workloads.tasks import housekeeping, performing
from backend.workloads.tasks.inference import Inference
from backend.workloads.tasks.lifecycle import (
    ARI_ANALYSIS,
    MODEL_TRAINING,
    PERFORM,
    TASKS_QUEUE,
)
from backend.workloads.tasks.registry import HARD_LIMIT
from backend.workloads.tasks.schedules import firing
from backend.workloads.tasks.tools import Tools

NEEDED: Final = ("numpy", "scipy", "sklearn")
NEEDY: Final = (ARI_ANALYSIS, MODEL_TRAINING)
"""The queues whose tasks compute with :data:`NEEDED`, which are an extra."""


def pipelines(settings: Settings) -> list[Pipeline]:
    """What a worker with these settings can do: without the extra, what computes waits.

    Raises:
        SettingsError: WORKER_TYPE asks for a queue by its name, and what its tasks need is not
            installed; or TASK_CONCURRENCY names a queue that there is not; or INFERENCE_URL or
            INFERENCE_TOKEN cannot be used.
    """
    if unknown := settings.task_concurrency.keys() - set(TASKS_QUEUE.partitions or ()):
        raise SettingsError(f"TASK_CONCURRENCY: there is no queue {', '.join(sorted(unknown))}")
    Inference.of(settings)  # a worker with an endpoint that cannot be asked does not start
    tools = Tools(settings)
    serves = _serves({word.strip() for word in settings.worker_type.split(",")})
    return [
        Pipeline(
            queue=TASKS_QUEUE,
            load=performing.reader(settings),
            tools=tools,
            batch=1,  # one may take half an hour: what waits is better left to another worker
            steps=(Choice(PERFORM, performing.chooser(tools), HARD_LIMIT),),
            serves=serves,
            at_once=settings.task_concurrency,
        )
    ]


def _serves(words: set[str]) -> list[str]:
    """The queues whose tasks this installation can do."""
    queues = TASKS_QUEUE.partitions or ()
    if all(find_spec(library) for library in NEEDED):
        return list(queues)
    if asked := words.intersection(NEEDY):
        raise SettingsError(
            f"WORKER_TYPE: {min(asked)} needs SciPy and scikit-learn: install lockkeeper[analysis]"
        )
    return [queue for queue in queues if queue not in NEEDY]


def duties(settings: Settings) -> list[Duty]:
    """What every worker does besides: schedules fire, results expire."""
    return [*firing.duties(settings), *housekeeping.duties(settings)]
