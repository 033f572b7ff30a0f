"""The words of a task's life, and the six queues that tasks wait in."""

from datetime import timedelta
from typing import Final

from backend.queue.lifecycle import Meaning, Queue, Stage
from backend.queue.retry import Backoff

TABLE: Final = "tasks"
PERFORM: Final = "perform"

ARI_ANALYSIS: Final = "ari_analysis"
FFE_PLANNING: Final = "ffe_planning"
EDM_ANALYSIS: Final = "edm_analysis"
MODEL_TRAINING: Final = "model_training"
MAINTENANCE: Final = "maintenance"
DEFAULT: Final = "default"

TASKS_QUEUE: Final = Queue(
    name="tasks",
    table=TABLE,
    ready="pending",
    stages=(Stage(PERFORM, "running"),),
    done="completed",
    failed="failed",
    cancelled="cancelled",
    partitions=(
        ARI_ANALYSIS,
        FFE_PLANNING,
        EDM_ANALYSIS,
        MODEL_TRAINING,
        MAINTENANCE,
        DEFAULT,
    ),
    fair=True,  # of who submitted: ten thousand of one person's hold up nobody else's
    max_attempts=4,
    backoff=Backoff(base=timedelta(seconds=5), cap=timedelta(minutes=10)),
    meaning={"completed": Meaning("It has run; its result is kept for a while.")},
)
