"""The API's process loads no code that opens what strangers uploaded."""

import subprocess
import sys

PROGRAM = """
import secrets
import sys
from sqlalchemy import create_engine
from backend.settings import Settings
from backend.web.assembly import assemble

settings = Settings.load(JWT_SECRET=secrets.token_urlsafe(48))
assemble(settings, create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none"))
parts = {"steps", "pipeline", "scanning"}
client = "backend.workloads.packages.registry"
print(sorted(name for name in sys.modules if "workloads" in name and (
    parts & set(name.split(".")) or name.startswith(client))))
"""


def test_creating_the_application_loads_no_step_no_scanner_and_no_registry_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
