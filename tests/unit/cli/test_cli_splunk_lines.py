"""What a configuration's author named files, stanzas and keys is made fit for a terminal."""

from typing import Any

from backend.cli import splunk_effective, splunk_matching, splunk_runs

HOSTILE = "evil\x1b[2J\x07\x9b\N{RIGHT-TO-LEFT OVERRIDE}\nname"
SAID = {"key": HOSTILE, "value": HOSTILE, "path": HOSTILE, "line": 3, "stanza": HOSTILE}
SETTING = {"key": HOSTILE, "value": HOSTILE, "winner": SAID, "losers": [SAID]}
OUTCOME = {"value": HOSTILE, "when": HOSTILE, "evidence": [SAID]}
VERDICT = {"answer": "yes", "reasons": [{"sentence": HOSTILE, "evidence": SAID}]}


def assert_plain(*lines: str) -> None:
    assert any("evil" in line for line in lines)
    assert [line for line in lines if not line.isprintable()] == []


def test_of_runs_and_their_stanzas() -> None:
    stanza: dict[str, Any] = {
        "file_path": HOSTILE, "line": 1, "name": HOSTILE, "raw_kv": {HOSTILE: HOSTILE},
        "lines": {HOSTILE: 2}, "history": {HOSTILE: [[1, HOSTILE]]},
    }  # fmt: skip
    summary: dict[str, Any] = {
        "id": 1, "status": "complete", "type": None, "archive_kind": "tar", "total_files": 1,
        "files": {HOSTILE: 1}, "total_stanzas": 1, "left_out": {},
        "notices": [{"message": HOSTILE}],
        **{key: {HOSTILE: 1} for key in splunk_runs.COUNTED},
    }  # fmt: skip

    assert_plain(*splunk_runs._stanzas({"stanzas": [stanza]}))
    assert_plain(*splunk_runs._summary(summary))


def test_of_what_holds() -> None:
    stanza = {"stanza": "s", "settings": [SETTING]}
    ignored = {**SAID, "reason": "app-disabled"}
    change = {
        "context": "global", "app": HOSTILE, "user": HOSTILE, "conf": HOSTILE, "stanza": HOSTILE,
        "inherited_by": 0, "change": "changed",
        "keys": [{"key": HOSTILE, "before": SAID, "after": SAID}],
    }  # fmt: skip

    assert_plain(*splunk_effective._stanzas({"conf": HOSTILE, "stanzas": [stanza]}))
    why = {"key": HOSTILE, "setting": SETTING, "ignored": [ignored]}
    assert_plain(*splunk_effective._candidates(why))
    assert_plain(*splunk_effective._changes({"changes": [change]}))


def test_of_events_clients_and_inputs() -> None:
    event = {
        "stanzas": [{"stanza": HOSTILE, "literal": True, "priority": 1}],
        "assigned": SAID, "renamed": SAID, "sourcetype": HOSTILE, "settings": [SETTING],
        "not_read": [{"stanza": HOSTILE, "reason": HOSTILE}],
    }  # fmt: skip
    app = {"app": HOSTILE, "verdict": {**VERDICT, "answer": "no"}, "present": False}
    member = {"server_class": HOSTILE, "verdict": VERDICT, "apps": [app]}
    client = {
        "name": HOSTILE, "apps": [HOSTILE], "undecided": [HOSTILE], "server_classes": [member],
    }  # fmt: skip
    destination = {
        "kind": "tcpout", "group": HOSTILE, "servers": [HOSTILE], "exists": False,
        "disabled": SAID, "routed": OUTCOME,
    }  # fmt: skip
    index = {**OUTCOME, "defined": False, "forwarded": False, "filter": SAID}
    route = {
        "disabled": SAID, "source": OUTCOME, "host": OUTCOME, "sourcetype": [OUTCOME],
        "queue": [OUTCOME], "index": [index], "destinations": [destination], "local": True,
        "local_by": SAID, "notes": [HOSTILE],
    }  # fmt: skip

    assert_plain(*splunk_matching._matched(event))
    assert_plain(*splunk_matching._deployed({"disabled": SAID, "clients": [client]}))
    assert_plain(*splunk_matching._route(route), *splunk_matching._route({**route, "local": False}))
