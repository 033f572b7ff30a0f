"""In which context Splunk reads which conf files.

Splunk Enterprise Admin Manual, "Configuration file precedence", the two lists at its end. ``props``
and ``transforms`` are in both; a conf type that is in neither is taken for one that is.
"""

from typing import Final

GLOBAL_ONLY: Final = frozenset({
    "admon", "authentication", "authorize", "crawl", "deploymentclient", "distsearch", "indexes",
    "inputs", "limits", "outputs", "pdf_server", "procmonfilters", "pubsub", "regmonfilters",
    "report_server", "restmap", "searchbnf", "segmenters", "server", "serverclass",
    "source-classifier", "sourcetypes", "sysmon", "tenants", "user-seed", "web", "wmi",
})  # fmt: skip

APP_USER_ONLY: Final = frozenset({
    "alert_actions", "app", "audit", "commands", "event_renderers", "eventdiscoverer",
    "eventtypes", "fields", "literals", "macros", "multikv", "savedsearches", "tags", "times",
    "transactiontypes", "user-prefs", "workflow_actions",
})  # fmt: skip
"""Two apps may each have one of a name: they do not overwrite each other."""
