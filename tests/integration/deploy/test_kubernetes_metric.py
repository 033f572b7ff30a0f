"""What the autoscaler of the workers asks for, and the API's real answer."""

import re

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from backend.web.assembly import assemble
from tests.callers import Caller, make_settings
from tests.kubernetes import of_kind

LOCATION = re.compile(r'(\w+)\{queue="(\w+)"\}')
TOKEN = "a-token-of-the-scraper"


def test_every_location_names_one_value_of_the_api(engine: Engine) -> None:
    api = Caller(assemble(make_settings(METRICS_TOKEN=TOKEN), engine).test_client(), TOKEN)
    answer = api("GET", "/metrics")
    assert answer.status_code == 200
    samples = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]
    locations = [
        trigger["metadata"]["valueLocation"]
        for scaler in of_kind("production", "ScaledObject").values()
        for trigger in scaler["spec"]["triggers"]
        if trigger["type"] == "metrics-api"
    ]
    assert len(locations) == 6
    for location in locations:
        parsed = LOCATION.fullmatch(location)
        assert parsed, location
        wanted = (parsed[1], {"queue": parsed[2]})
        (value,) = [value for name, labels, value in samples if (name, labels) == wanted]
        assert value == 0
