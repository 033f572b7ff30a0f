"""Typed columns: what a value means, and NULL where it fits no type."""

import pytest

from backend.db import Base
from backend.workloads.splunk import model
from backend.workloads.splunk.copying import COLUMNS
from backend.workloads.splunk.projections import BY_CONF_TYPE, PROJECTIONS, flag, number


def projected(
    conf_type: str, name: str, settings: dict[str, str] | None = None
) -> dict[str, object]:
    projection = BY_CONF_TYPE[conf_type]
    row = projection.row(name, settings or {})
    columns = [column for column, _ in projection.columns]
    return {k: v for k, v in zip(columns, row, strict=True) if v is not None}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1", True), ("true", True), ("TRUE", True), (" t ", True), ("yes", True),
        ("0", False), ("False", False), ("no", False), ("f", False),
        ("", None), ("2", None), ("maybe", None), ("$DISABLED$", None),
    ],
)  # fmt: skip
def test_a_flag_is_what_splunk_takes_for_one(text: str, meant: bool | None) -> None:
    assert flag(text) is meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("500000", 500_000), (" -1 ", -1), ("+7", 7), ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)), ("9223372036854775808", None),
        ("1" * 5000, None), ("1.5", None), ("auto", None), ("", None), ("١٢", None), ("1_0", None),
    ],
)  # fmt: skip
def test_a_number_fits_its_column_or_is_none(text: str, meant: int | None) -> None:
    assert number(text) == meant


@pytest.mark.parametrize(
    ("conf_type", "name", "meant"),
    [
        ("inputs", "monitor:///var/log/x", {"kind": "monitor", "target": "/var/log/x"}),
        ("inputs", "tcp://:9997", {"kind": "tcp", "target": ":9997"}),
        ("inputs", "splunktcp:9997", {"kind": "splunktcp", "target": "9997"}),
        ("inputs", "SSL", {"kind": "SSL"}),
        ("inputs", "default", {}),
        ("props", "source::/var/log/...", {"kind": "source", "pattern": "/var/log/..."}),
        ("props", "host::web*", {"kind": "host", "pattern": "web*"}),
        ("props", "delayedrule::x", {"kind": "delayedrule", "pattern": "x"}),
        ("props", "access_combined", {"kind": "sourcetype", "pattern": "access_combined"}),
        ("props", "perl::script", {"kind": "sourcetype", "pattern": "perl::script"}),
        ("props", "default", {}),
        ("transforms", "drop", {}),
        ("indexes", "main", {"kind": "index"}),
        ("indexes", "volume:hot", {"kind": "volume"}),
        ("indexes", "provider-family:hadoop", {"kind": "provider-family"}),
        ("indexes", "default", {}),
        ("outputs", "tcpout", {"kind": "tcpout"}),
        ("outputs", "tcpout:group", {"kind": "tcpout", "target": "group"}),
        ("outputs", "tcpout-server://a:9997", {"kind": "tcpout-server", "target": "a:9997"}),
        ("serverclass", "global", {}),
        ("serverclass", "serverClass:linux", {"server_class": "linux"}),
        ("serverclass", "serverClass:linux:app:nix",
         {"server_class": "linux", "deployed_app": "nix"}),
    ],
)  # fmt: skip
def test_a_name_says_what_its_stanza_is_about(
    conf_type: str, name: str, meant: dict[str, object]
) -> None:
    assert projected(conf_type, name) == meant


def test_values_come_typed_and_what_fits_no_type_is_left_to_the_stanza() -> None:
    assert projected(
        "indexes",
        "web",
        {"maxTotalDataSizeMB": "500000", "frozenTimePeriodInSecs": "never", "disabled": "0",
         "homePath": "$SPLUNK_DB/web/db", "repFactor": "auto", "unknown": "x"},
    ) == {
        "kind": "index", "max_total_data_size_mb": 500_000, "disabled": False,
        "home_path": "$SPLUNK_DB/web/db", "rep_factor": "auto",
    }  # fmt: skip


def test_keys_are_told_apart_by_case_as_splunk_does() -> None:
    assert projected("props", "x", {"truncate": "1"}) == {"kind": "sourcetype", "pattern": "x"}
    assert projected("props", "x", {"TRUNCATE": "1"})["truncate"] == 1


def test_every_table_has_the_columns_of_its_rows() -> None:
    assert model.RunFile.metadata is Base.metadata
    for projection in PROJECTIONS:
        columns = [column.name for column in Base.metadata.tables[projection.table].columns]
        assert columns == ["run_id", *COLUMNS[projection.table]]
        assert len(projection.row("x", {})) == len(columns) - 2
    for table in ("run_notices", "files", "stanzas"):
        names = {column.name for column in Base.metadata.tables[table].columns}
        assert names == {"run_id", *COLUMNS[table]}
