"""The API's process loads no code that opens what strangers uploaded, and nothing that computes."""

import subprocess
import sys

import pytest

PROGRAM = """
import secrets
import sys
from sqlalchemy import create_engine
from backend.settings import Settings
from backend.web.assembly import assemble
from backend.workloads.tasks.registry import task_types

settings = Settings.load(JWT_SECRET=secrets.token_urlsafe(48))
assemble(settings, create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none"))
parts = {"steps", "pipeline", "scanning"}
client = "backend.workloads.packages.registry"
print(sorted(name for name in sys.modules if "workloads" in name and (
    parts & set(name.split(".")) or name.startswith(client))))
print(len(task_types()), sorted({"numpy", "scipy", "sklearn"} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_creating_the_application_loads_no_step_no_scanner_and_no_registry_client(
    loaded: list[str],
) -> None:
    assert loaded[0] == "[]"


def test_neither_an_api_nor_a_task_type_loads_a_numeric_library(loaded: list[str]) -> None:
    assert loaded[1] == "14 []"
