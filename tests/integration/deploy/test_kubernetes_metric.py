"""What the autoscaler of the workers asks for, and the API's real answer."""

import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from backend.db import Sessions
from backend.web.assembly import assemble
from tests.callers import Caller, make_settings
from tests.kubernetes import of_kind

LOCATION = re.compile(r'(\w+)\{(\w+="\w+"(?:,\w+="\w+")*)\}')
LABEL = re.compile(r'(\w+)="(\w+)"')
TOKEN = "a-token-of-the-scraper"


def scraped(engine: Engine) -> str:
    api = Caller(assemble(make_settings(METRICS_TOKEN=TOKEN), engine).test_client(), TOKEN)
    answer = api("GET", "/metrics")
    assert answer.status_code == 200
    return answer.text


def locations() -> dict[str, list[str]]:
    """Of each deployment."""
    return {
        name: [
            trigger["metadata"]["valueLocation"]
            for trigger in scaler["spec"]["triggers"]
            if trigger["type"] == "metrics-api"
        ]
        for name, scaler in of_kind("production", "ScaledObject").items()
    }


def value(page: str, location: str) -> float:
    """The one sample that a location names."""
    parsed = LOCATION.fullmatch(location)
    assert parsed, location
    wanted = (parsed[1], dict(LABEL.findall(parsed[2])))
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if (sample.name, sample.labels) == wanted
    ]
    return found


def test_each_deployment_is_scaled_by_rows_of_its_own(engine: Engine, sessions: Sessions) -> None:
    with sessions.begin() as session:
        user = session.scalar(
            text(
                "INSERT INTO users (username, password_hash, role)"
                " VALUES ('ada', '!', 'user') RETURNING id"
            )
        )
        session.execute(
            text(
                "INSERT INTO tasks (queue, task_type, status, submitted_by, available_at)"
                " VALUES ('maintenance', 'cleanup_cache', 'pending', :user,"
                " now() - interval '7 minutes')"
            ),
            {"user": user},
        )
    page = scraped(engine)

    waits = {name: max(value(page, it) for it in asked) for name, asked in locations().items()}
    assert 420 <= waits.pop("maintenance-worker") < 480
    assert set(waits.values()) == {0.0}


def test_prometheus_understands_the_page(engine: Engine) -> None:
    """KEDA reads it by the same library, and refuses all of it for one wrong line."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("METRICS NOT CHECKED: there is no promtool on this machine")
    done = subprocess.run(
        [program, "check", "metrics"], input=scraped(engine), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
