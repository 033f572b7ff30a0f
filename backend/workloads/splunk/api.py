"""The Splunk API: one blueprint for each of its parts."""

from backend.workloads.splunk import matching_api, resolution_api, upload_api

BLUEPRINTS = (upload_api.bp, resolution_api.bp, matching_api.bp)
