"""Where a file stands, told from its path, the other paths and the upload's type."""

import pytest

from backend.workloads.splunk.places import Layer, Place, Scope, UploadType
from backend.workloads.splunk.provenance import Placing

DS, INSTANCE = UploadType.DS_ETC, UploadType.INSTANCE_ETC
BUNDLE, SINGLE = UploadType.APP_BUNDLE, UploadType.SINGLE_CONF


def placing(upload_type: UploadType, *paths: str, name: str = "") -> Placing:
    made = Placing(upload_type, name)
    for path in paths:
        made.see(path)
    return made


def place(path: str, upload_type: UploadType = INSTANCE, name: str = "") -> Place | None:
    return placing(upload_type, path, name=name).of(path)


@pytest.mark.parametrize("upload_type", UploadType)
@pytest.mark.parametrize("wrapped", ["etc/", "opt/splunk/etc/", "a/b/etc/", ""])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("system/default/a.conf", Place(Layer.SYSTEM, Scope.DEFAULT)),
        ("system/local/a.conf", Place(Layer.SYSTEM, Scope.LOCAL)),
        ("system/metadata/default.meta", Place(Layer.SYSTEM, Scope.METADATA)),
        ("apps/A/default/a.conf", Place(Layer.APP, Scope.DEFAULT, "A")),
        ("apps/A/local/a.conf", Place(Layer.APP, Scope.LOCAL, "A")),
        ("apps/A/metadata/local.meta", Place(Layer.APP, Scope.METADATA, "A")),
        ("deployment-apps/A/local/a.conf", Place(Layer.DEPLOYMENT_APP, Scope.LOCAL, "A")),
        ("shcluster/apps/A/default/a.conf", Place(Layer.DEPLOYMENT_APP, Scope.DEFAULT, "A")),
        ("manager-apps/A/local/a.conf", Place(Layer.MANAGER_APP, Scope.LOCAL, "A")),
        ("master-apps/_cluster/local/a.conf", Place(Layer.MANAGER_APP, Scope.LOCAL, "_cluster")),
        ("peer-apps/A/default/a.conf", Place(Layer.PEER_APP, Scope.DEFAULT, "A")),
        ("slave-apps/A/default/a.conf", Place(Layer.PEER_APP, Scope.DEFAULT, "A")),
        ("users/bob/search/local/a.conf", Place(Layer.USER, Scope.USERS, "search", "bob")),
        ("users/bob/A/metadata/local.meta", Place(Layer.USER, Scope.METADATA, "A", "bob")),
    ],
)
def test_every_folder_of_etc_wherever_it_sits(
    path: str, expected: Place, wrapped: str, upload_type: UploadType
) -> None:
    told = placing(upload_type, wrapped + path)
    assert told.of(wrapped + path) == expected
    assert told.root == wrapped.rstrip("/")
    assert told.below(wrapped + path) == path


@pytest.mark.parametrize(
    "path",
    [
        "etc/apps/A/default.old.20240101-000000/a.conf", "etc/apps/A/default/data/ui/a.conf",
        "etc/apps/A/bin/a.conf", "etc/apps/A/a.conf", "etc/apps/local/a.conf",
        "etc/apps/A/README/a.conf.spec", "etc/apps/A/default/a.conf.example",
        "etc/apps/A/default/._a.conf", "etc/apps/A/default/.conf", "etc/apps/A/metadata/a.conf",
        "etc/apps/A/metadata/other.meta", "etc/apps/A/default/default.meta",
        "etc/users/bob/A/default/a.conf", "etc/users/bob/local/a.conf", "etc/splunk-launch.conf",
        "etc/disabled-apps/A/default/a.conf", "etc/shcluster/users/b/A/local/a.conf",
        "etc/system/README/a.conf", "etc/auth/splunk.secret", "a.conf", "other/A/local/a.conf",
    ],
)  # fmt: skip
def test_what_is_no_configuration_there(path: str) -> None:
    assert placing(INSTANCE, "etc/system/local/server.conf", path).of(path) is None


@pytest.mark.parametrize(
    ("upload_type", "layer"),
    [(DS, Layer.DEPLOYMENT_APP), (INSTANCE, Layer.APP), (BUNDLE, Layer.APP), (SINGLE, Layer.APP)],
)
def test_apps_at_the_top_are_what_the_type_says(upload_type: UploadType, layer: Layer) -> None:
    for path in ("TA_a/default/a.conf", "wrapped/in/TA_a/default/a.conf"):
        assert place(path, upload_type) == Place(layer, Scope.DEFAULT, "TA_a")
    assert place("TA_a/metadata/default.meta", DS) == Place(
        Layer.DEPLOYMENT_APP, Scope.METADATA, "TA_a"
    )


@pytest.mark.parametrize(
    ("upload_type", "expected"),
    [
        (DS, Place(Layer.DEPLOYMENT_APP, Scope.LOCAL, "TA_x-1.0")),
        (BUNDLE, Place(Layer.APP, Scope.LOCAL, "TA_x-1.0")),
        (INSTANCE, Place(Layer.SYSTEM, Scope.LOCAL)),
        (SINGLE, Place(Layer.SYSTEM, Scope.LOCAL)),
    ],
)
def test_the_inside_of_one_app(upload_type: UploadType, expected: Place) -> None:
    for name in ("TA_x-1.0.tgz", "C:\\TA_x-1.0.SPL", "/tmp/TA_x-1.0.tar.gz"):
        assert place("local/a.conf", upload_type, name) == expected


def test_an_archive_without_a_name_names_an_app_all_the_same() -> None:
    assert place("local/a.conf", BUNDLE, ".zip") == Place(Layer.APP, Scope.LOCAL, "app")
    assert place("local/a.conf", BUNDLE, "a\x1bb") == Place(Layer.APP, Scope.LOCAL, "a\\u001bb")


@pytest.mark.parametrize("upload_type", UploadType)
def test_a_conf_file_alone_stands_in_system_local(upload_type: UploadType) -> None:
    assert place("props.conf", upload_type) == Place(Layer.SYSTEM, Scope.LOCAL)


def test_flat_conf_files_in_a_folder_are_some_only_where_the_type_says_so() -> None:
    assert place("mine/props.conf", SINGLE) == Place(Layer.SYSTEM, Scope.LOCAL)
    assert place("mine/props.conf", BUNDLE) is None


def test_flat_conf_files_count_only_where_nothing_says_more() -> None:
    told = placing(SINGLE, "props.conf", "deep/in/A/local/a.conf")
    assert told.of("props.conf") is None
    assert told.of("deep/in/A/local/a.conf") == Place(Layer.APP, Scope.LOCAL, "A")


def test_an_app_inside_an_app_is_none() -> None:
    inner = [f"TA_a/appserver/addons/TA_{n}/default/a.conf" for n in range(5)]
    told = placing(BUNDLE, *inner, "TA_a/default/app.conf", "TA_a/etc/apps/x/local/a.conf")
    assert told.of("TA_a/default/app.conf") == Place(Layer.APP, Scope.DEFAULT, "TA_a")
    assert [told.of(path) for path in [*inner, "TA_a/etc/apps/x/local/a.conf"]] == [None] * 6


def test_a_tree_inside_an_app_of_an_instance_is_none() -> None:
    inner = "etc/apps/A/bin/etc/apps/B/local/a.conf"
    told = placing(INSTANCE, inner, inner.replace("B", "C"), "etc/apps/A/default/app.conf")
    assert told.of(inner) is None


def test_a_folder_named_etc_is_preferred_of_an_instance() -> None:
    told = placing(INSTANCE, "notes/local/a.conf", "opt/splunk/etc/apps/A/local/a.conf")
    assert told.root == "opt/splunk/etc"
    assert told.of("notes/local/a.conf") is None


def test_a_folder_named_etc_inside_an_app_is_not() -> None:
    inner = "deployment-apps/A/docs/etc/apps/x/local/a.conf"
    outer = [f"deployment-apps/A/default/{n}.conf" for n in "ab"]
    for upload_type in UploadType:
        told = placing(upload_type, inner, *outer)
        assert (told.root, told.of(inner)) == ("", None)
        assert told.of(outer[0]) == Place(Layer.DEPLOYMENT_APP, Scope.DEFAULT, "A")


def test_of_two_installations_the_larger_is_read() -> None:
    paths = [f"h1/etc/apps/A/local/{n}.conf" for n in "ab"] + ["h0/etc/apps/A/local/a.conf"]
    for order in (paths, paths[::-1]):
        told = placing(INSTANCE, *order)
        assert told.root == "h1/etc"
        assert told.of("h0/etc/apps/A/local/a.conf") is None
    assert placing(INSTANCE, *paths[1:]).root == "h0/etc"


def test_apps_named_as_folders_of_etc_are() -> None:
    assert place("etc/apps/etc/local/a.conf") == Place(Layer.APP, Scope.LOCAL, "etc")
    assert place("etc/apps/system/local/a.conf") == Place(Layer.APP, Scope.LOCAL, "system")
    assert place("etc/apps/apps/local/a.conf") == Place(Layer.APP, Scope.LOCAL, "apps")


def test_the_case_of_a_conf_files_name_does_not_matter() -> None:
    assert place("etc/system/local/Props.CONF") == Place(Layer.SYSTEM, Scope.LOCAL)


def test_a_million_roots_are_not_remembered() -> None:
    paths = [f"{'d/' * (n % 40)}{n}/A/local/a.conf" for n in range(6000)]
    told = placing(BUNDLE, *paths, "top/local/a.conf")
    assert len(told._roots) <= 2001
    assert told.of("top/local/a.conf") == Place(Layer.APP, Scope.LOCAL, "top")


def test_nothing_seen_is_no_root() -> None:
    told = Placing(INSTANCE)
    assert (told.root, told.of("etc/x"), told.below("etc/x")) == ("", None, "etc/x")


@pytest.mark.parametrize("upload_type", [DS, INSTANCE])
@pytest.mark.parametrize("stray", ["local/a.conf", "notes/local/a.conf"])
@pytest.mark.parametrize("wrapped", ["", "h1/"])
def test_a_stray_file_does_not_hide_an_installation_that_is_not_named_etc(
    upload_type: UploadType, stray: str, wrapped: str
) -> None:
    real = [f"{wrapped}apps/A/local/{n}.conf" for n in "ab"]
    told = placing(upload_type, stray, *real)
    assert told.of(real[0]) == Place(Layer.APP, Scope.LOCAL, "A")
    assert told.of(stray) is None


def test_what_would_be_configuration_under_another_root_is_known() -> None:
    told = placing(INSTANCE, "etc/apps/A/local/a.conf", "old/etc/apps/A/local/a.conf")
    assert told.strays("old/etc/apps/A/local/a.conf")
    assert not told.strays("etc/apps/A/local/a.conf")
    assert not told.strays("etc/apps/A/bin/a.conf")
