"""The tasks API: one blueprint for each of its parts."""

from backend.workloads.tasks import (
    claims_api,
    data_api,
    goals_api,
    models_api,
    schedules_api,
    tasks_api,
)

BLUEPRINTS = (
    tasks_api.bp,
    data_api.bp,
    goals_api.bp,
    claims_api.bp,
    models_api.bp,
    schedules_api.bp,
)
