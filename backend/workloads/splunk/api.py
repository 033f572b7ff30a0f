"""The Splunk API: one blueprint for each of its parts."""

from backend.workloads.splunk import (
    contents_api,
    matching_api,
    resolution_api,
    runs_api,
    upload_api,
    worker_api,
)

BLUEPRINTS = (
    upload_api.bp,
    runs_api.bp,
    contents_api.bp,
    resolution_api.bp,
    matching_api.bp,
    worker_api.bp,
)
