"""The typed columns of six kinds of conf files: what people filter stanzas by.

What a key means, and how its value is written, is in Splunk's ``<conf type>.conf.spec``. A value
that does not fit its column's type is NULL there; the stanza itself has its text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

Value: TypeAlias = str | int | bool | None


class Type(Enum):
    TEXT = "text"
    FLAG = "boolean"
    NUMBER = "bigint"


@dataclass(frozen=True, slots=True)
class Setting:
    """A column for one key's value."""

    column: str
    key: str
    type: Type = Type.TEXT


@dataclass(frozen=True, slots=True)
class Projection:
    """One table: a row for each stanza of ``conf_type``.

    Attributes:
        table: its name.
        conf_type: of the stanzas it is made from.
        named: columns of text that ``read`` tells from a stanza's name.
        read: a value for each of them.
        settings: the columns for its keys.
    """

    table: str
    conf_type: str
    named: tuple[str, ...]
    read: Callable[[str], tuple[str | None, ...]]
    settings: tuple[Setting, ...]
    _none: tuple[None, ...] = field(init=False, repr=False)
    _places: Mapping[str, tuple[int, Type]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = enumerate(self.settings, start=len(self.named))
        by_key = {one.key: (place, one.type) for place, one in places}
        object.__setattr__(self, "_none", (None,) * len(self.settings))
        object.__setattr__(self, "_places", by_key)

    @property
    def columns(self) -> tuple[tuple[str, Type], ...]:
        """Names and types, in the order of :meth:`row`."""
        named = tuple((name, Type.TEXT) for name in self.named)
        return (*named, *((one.column, one.type) for one in self.settings))

    def row(self, name: str, settings: Mapping[str, str]) -> list[Value]:
        """The values of one stanza's columns."""
        row: list[Value] = [*self.read(name), *self._none]
        places = self._places
        for key, value in settings.items():
            if key in places:
                place, type_ = places[key]
                row[place] = typed(type_, value)
        return row


def typed(type_: Type, value: str) -> Value:
    """``value`` as its column has it; None where it is no such value."""
    if type_ is Type.TEXT:
        return value
    return flag(value) if type_ is Type.FLAG else number(value)


_FLAGS: Final = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


def flag(value: str) -> bool | None:
    """As ``splunk.util.normalizeBoolean`` of Splunk's own Python library reads one."""
    return _FLAGS.get(value.strip().lower())


_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{1,19})\s*", re.ASCII)
_LARGEST: Final = 2**63 - 1


def number(value: str) -> int | None:
    """A whole number that fits a ``bigint``."""
    matched = _NUMBER.fullmatch(value)
    found = int(matched[1]) if matched else None
    return found if found is not None and -_LARGEST - 1 <= found <= _LARGEST else None


def _input(name: str) -> tuple[str | None, str | None]:
    """``monitor:///var/log`` reads ``/var/log``; ``splunktcp`` and ``default`` read nothing."""
    kind, separator, target = name.partition("://")
    if not separator:
        kind, separator, target = name.partition(":")
    return (None if name == "default" else kind), (target if separator else None)


_PROPS_KINDS: Final = ("source", "host", "rule", "delayedrule")


def _props(name: str) -> tuple[str | None, str | None]:
    """``source::…`` and the like say what they match; any other name is a source type."""
    if name == "default":
        return None, None
    kind, separator, pattern = name.partition("::")
    return (kind, pattern) if separator and kind in _PROPS_KINDS else ("sourcetype", name)


def _index(name: str) -> tuple[str | None]:
    """An index, unless the name says what else it is."""
    if name == "default":
        return (None,)
    kind, separator, _ = name.partition(":")
    return (kind if separator and kind in ("volume", "provider", "provider-family") else "index",)


def _output(name: str) -> tuple[str | None, str | None]:
    """``tcpout`` itself, a group ``tcpout:name``, or a server ``tcpout-server://host:port``."""
    if name == "default":
        return None, None
    kind, separator, target = name.partition("://")
    if not separator:
        kind, separator, target = name.partition(":")
    return kind, (target if separator else None)


def _serverclass(name: str) -> tuple[str | None, str | None]:
    """``serverClass:name`` and ``serverClass:name:app:app``; ``global`` is for all of them."""
    kind, _, rest = name.partition(":")
    if kind != "serverClass" or not rest:
        return None, None
    server_class, separator, app = rest.partition(":app:")
    return server_class, (app if separator else None)


def _nothing(_name: str) -> tuple[()]:
    return ()


_FLAG, _NUMBER_TYPE = Type.FLAG, Type.NUMBER

INPUTS: Final = Projection(
    "inputs",
    "inputs",
    ("kind", "target"),
    _input,
    (
        Setting("disabled", "disabled", _FLAG),
        Setting("index", "index"),
        Setting("sourcetype", "sourcetype"),
        Setting("source", "source"),
        Setting("host", "host"),
        Setting("interval", "interval"),
        Setting("whitelist", "whitelist"),
        Setting("blacklist", "blacklist"),
        Setting("recursive", "recursive", _FLAG),
        Setting("queue", "queue"),
        Setting("connection_host", "connection_host"),
        Setting("tcp_routing", "_TCP_ROUTING"),
    ),
)
PROPS: Final = Projection(
    "props",
    "props",
    ("kind", "pattern"),
    _props,
    (
        Setting("sourcetype", "sourcetype"),
        Setting("priority", "priority", _NUMBER_TYPE),
        Setting("rename", "rename"),
        Setting("category", "category"),
        Setting("charset", "CHARSET"),
        Setting("line_breaker", "LINE_BREAKER"),
        Setting("should_linemerge", "SHOULD_LINEMERGE", _FLAG),
        Setting("truncate", "TRUNCATE", _NUMBER_TYPE),
        Setting("time_prefix", "TIME_PREFIX"),
        Setting("time_format", "TIME_FORMAT"),
        Setting("max_timestamp_lookahead", "MAX_TIMESTAMP_LOOKAHEAD", _NUMBER_TYPE),
        Setting("tz", "TZ"),
        Setting("indexed_extractions", "INDEXED_EXTRACTIONS"),
        Setting("kv_mode", "KV_MODE"),
        Setting("no_binary_check", "NO_BINARY_CHECK", _FLAG),
    ),
)
TRANSFORMS: Final = Projection(
    "transforms",
    "transforms",
    (),
    _nothing,
    (
        Setting("regex", "REGEX"),
        Setting("format", "FORMAT"),
        Setting("source_key", "SOURCE_KEY"),
        Setting("dest_key", "DEST_KEY"),
        Setting("write_meta", "WRITE_META", _FLAG),
        Setting("ingest_eval", "INGEST_EVAL"),
        Setting("mv_add", "MV_ADD", _FLAG),
        Setting("filename", "filename"),
        Setting("collection", "collection"),
        Setting("external_cmd", "external_cmd"),
        Setting("external_type", "external_type"),
        Setting("case_sensitive_match", "case_sensitive_match", _FLAG),
    ),
)
INDEXES: Final = Projection(
    "indexes",
    "indexes",
    ("kind",),
    _index,
    (
        Setting("disabled", "disabled", _FLAG),
        Setting("datatype", "datatype"),
        Setting("home_path", "homePath"),
        Setting("cold_path", "coldPath"),
        Setting("thawed_path", "thawedPath"),
        Setting("remote_path", "remotePath"),
        Setting("path", "path"),
        Setting("max_total_data_size_mb", "maxTotalDataSizeMB", _NUMBER_TYPE),
        Setting("frozen_time_period_in_secs", "frozenTimePeriodInSecs", _NUMBER_TYPE),
        Setting("cold_to_frozen_dir", "coldToFrozenDir"),
        Setting("max_data_size", "maxDataSize"),
        Setting("max_hot_buckets", "maxHotBuckets"),
        Setting("rep_factor", "repFactor"),
    ),
)
OUTPUTS: Final = Projection(
    "outputs",
    "outputs",
    ("kind", "target"),
    _output,
    (
        Setting("disabled", "disabled", _FLAG),
        Setting("server", "server"),
        Setting("default_group", "defaultGroup"),
        Setting("index_and_forward", "indexAndForward", _FLAG),
        Setting("send_cooked_data", "sendCookedData", _FLAG),
        Setting("use_ack", "useACK", _FLAG),
        Setting("compressed", "compressed", _FLAG),
        Setting("auto_lb_frequency", "autoLBFrequency", _NUMBER_TYPE),
        Setting("client_cert", "clientCert"),
        Setting("ssl_verify_server_cert", "sslVerifyServerCert", _FLAG),
        Setting("uri", "uri"),
        Setting("type", "type"),
    ),
)
SERVERCLASSES: Final = Projection(
    "serverclasses",
    "serverclass",
    ("server_class", "deployed_app"),
    _serverclass,
    (
        Setting("filter_type", "filterType"),
        Setting("machine_types_filter", "machineTypesFilter"),
        Setting("state_on_client", "stateOnClient"),
        Setting("restart_splunkd", "restartSplunkd", _FLAG),
        Setting("restart_splunk_web", "restartSplunkWeb", _FLAG),
        Setting("continue_matching", "continueMatching", _FLAG),
        Setting("endpoint", "endpoint"),
        Setting("repository_location", "repositoryLocation"),
        Setting("target_repository_location", "targetRepositoryLocation"),
    ),
)

PROJECTIONS: Final = (INPUTS, PROPS, TRANSFORMS, INDEXES, OUTPUTS, SERVERCLASSES)
BY_CONF_TYPE: Final = {one.conf_type: one for one in PROJECTIONS}
