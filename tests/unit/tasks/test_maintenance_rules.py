"""What maintenance tasks take and what they compute, without a database."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backend.identity.roles import Role
from backend.queue.retry import Permanent, Transient
from backend.upkeep import size_of
from backend.workloads.tasks.lifecycle import MAINTENANCE
from backend.workloads.tasks.maintenance.archiving import folder
from backend.workloads.tasks.maintenance.bloat import expected_bytes
from backend.workloads.tasks.maintenance.offered import retained
from backend.workloads.tasks.registry import task_types
from backend.workloads.tasks.types.enforce_retention_policy import EnforceRetentionPolicy
from tests.callers import make_settings
from tests.conftest import open_directory

KINDS = ("archive_audit_logs", "cleanup_cache", "enforce_retention_policy", "maintain_database")
PAGE = 8192


@pytest.mark.parametrize(
    ("rows", "width", "fillfactor", "pages"),
    [
        (0, 10, 100, 0),
        (1, 10, 100, 1),
        (185, 10, 100, 1),  # 24 + 16 + 4 bytes each: 185 fit into 8,168
        (186, 10, 100, 2),
        (100, 16, 100, 1),  # aligned already: as many as of 10
        (186, 9, 50, 3),  # 92 to a page
        (3, 9_000, 100, 3),  # larger than a page: one to each
    ],
)
def test_what_rows_take_follows_from_the_layout_of_a_page(
    rows: int, width: float, fillfactor: int, pages: int
) -> None:
    assert expected_bytes(rows, width, fillfactor=fillfactor, page=PAGE) == pages * PAGE


@pytest.mark.parametrize("name", KINDS)
def test_maintenance_is_for_admins_about_nobodys_data_and_can_be_tried(name: str) -> None:
    kind = task_types()[name]

    assert (kind.queue, kind.subject, kind.role) == (MAINTENANCE, "none", Role.ADMIN)
    assert kind.parameters.model_json_schema()["properties"]["dry_run"]["default"] is False


def test_a_form_knows_every_kind_that_a_policy_may_name() -> None:
    policy = EnforceRetentionPolicy.model_json_schema()["properties"]["policy"]

    assert policy["properties"].keys() == retained().keys()
    assert policy["additionalProperties"] is False
    assert all(days["minimum"] == 1 for days in policy["properties"].values())
    assert not {"audit_log", "users", "attempts"} & retained().keys()


@pytest.mark.parametrize(
    "policy",
    [{}, {"audit_log": 1}, {"tasks": 0}, {"tasks": 36_501}, {"tasks": 1.5}, {"tasks; DROP": 1}],
)
def test_a_policy_that_cannot_be_meant_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EnforceRetentionPolicy(policy=policy)


def test_a_folder_is_as_large_as_its_files_and_no_link_is_followed(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep" / "a").write_bytes(b"12345")
    (scratch / "b").write_bytes(b"123")
    (tmp_path / "outside").write_bytes(b"x" * 1000)
    (scratch / "link").symlink_to(tmp_path / "outside")
    link = (scratch / "link").lstat().st_size

    assert size_of(scratch) == 8 + link
    assert size_of(scratch / "link") == link


def test_what_may_not_be_looked_into_is_passed_over() -> None:
    # Anybody may put a folder of such a name into the temporary folder.
    with open_directory() as strange:
        (strange / "seen").write_bytes(b"123")
        closed = strange / "closed"
        (closed / "deeper").mkdir(parents=True)
        closed.chmod(0o644)
        me = os.geteuid()
        try:
            os.seteuid(me or 65_534)  # root may look everywhere
            size = size_of(strange)
        finally:
            os.seteuid(me)
            closed.chmod(0o755)
    assert size == 3


def test_without_a_folder_of_its_operator_nothing_is_archived(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="AUDIT_ARCHIVE_DIR is not set"):
        folder(make_settings())
    with pytest.raises(Transient, match="names no folder"):
        folder(make_settings(AUDIT_ARCHIVE_DIR=tmp_path / "not mounted"))
    assert not (tmp_path / "not mounted").exists()
    assert folder(make_settings(AUDIT_ARCHIVE_DIR=tmp_path)) == tmp_path
