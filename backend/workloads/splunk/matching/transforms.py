"""What index-time transforms may make of an event's index, source type, queue and routing.

Source: props.conf.spec, ``TRANSFORMS-<class>`` and ``RULESET-<class>``; transforms.conf.spec,
``REGEX``, ``FORMAT``, ``SOURCE_KEY``, ``DEST_KEY``, ``DEFAULT_VALUE`` and "KEYS". An event's text
is not here: what hangs on it is told as a condition, and nothing is guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.clients import comma_separated
from backend.workloads.splunk.matching.expressions import REGEX
from backend.workloads.splunk.matching.patterns import Pattern
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.resolution.effective import Resolved, Settings

INDEX: Final = "_MetaData:Index"
SOURCETYPE: Final = "MetaData:Sourcetype"
QUEUE: Final = "queue"
TCP: Final = "_TCP_ROUTING"
SYSLOG: Final = "_SYSLOG_ROUTING"
LABEL: Final = "_INDEX_AND_FORWARD_ROUTING"
SOURCE: Final = "MetaData:Source"
HOST: Final = "MetaData:Host"

PREFIXES: Final = {SOURCETYPE: "sourcetype::", SOURCE: "source::", HOST: "host::"}
"""What a value of these keys begins with, where it is read and where it is written."""

CLASSES: Final = ("TRANSFORMS-", "RULESET-")
"""In the order in which they are applied."""

ANY_TEXT: Final = frozenset({"", ".", ".*", ".+", "(.)", "(.*)", "(.+)", "^", "(?s).", "(?s).*"})
NOT_MODELLED: Final = ("INGEST_EVAL", "STOP_PROCESSING_IF")

TOLD: Final = 100
"""Units of work for what is told of one transform, so that an answer has an end."""

_LONG: Final = ("REGEX", "FORMAT", "DEFAULT_VALUE")
_CAPTURE = re.compile(r"\$[0-9]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a key may end as.

    Attributes:
        value: None where it is taken from the event's text, or nobody here can know it.
        when: the condition in words; None where it holds for each event.
        settings: what says so, the nearest first.
    """

    value: str | None
    when: str | None = None
    settings: tuple[Resolved, ...] = ()


@dataclass(frozen=True, slots=True)
class Transform:
    """One that is applied. ``matches``: None where it hangs on the event's text."""

    name: str
    named_by: Resolved
    settings: Settings
    matches: bool | None

    def text(self, key: str) -> str:
        return _text(self.settings, key)

    @property
    def said(self) -> tuple[Resolved, ...]:
        keys = ("DEST_KEY", "FORMAT", "REGEX", "SOURCE_KEY")
        return (*(self.settings[key] for key in keys if key in self.settings), self.named_by)


@dataclass(slots=True)
class Pipeline:
    """An event's keys on their way through the transforms.

    Attributes:
        keys: what each key may be, the likeliest last word last; nothing where it is not set.
        transforms: those that were applied, in their order.
    """

    keys: dict[str, list[Outcome]]
    transforms: list[Transform] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, props: Settings, transforms: Mapping[str, Settings], work: Work) -> None:
        """Apply all that ``props`` names, in ASCII order of the classes.

        Raises:
            Unsupported: code ``too-complex``.
        """
        for setting, name in _named(props):
            work.spend(TOLD)
            if name not in transforms:
                self.notes.append(f"{setting.key} names {name}, which transforms.conf has not.")
                continue
            settings = transforms[name]
            if not any(_text(settings, key) for key in ("REGEX", *NOT_MODELLED)):
                self.notes.append(f"{name} has no REGEX: it is not applied.")
                continue
            transform = Transform(name, setting, settings, self._matches(settings, work))
            work.spend(sum(len(transform.text(key)) for key in _LONG) // 8)
            self.transforms.append(transform)
            self._apply(transform)

    def _apply(self, transform: Transform) -> None:
        unmodelled = [key for key in NOT_MODELLED if transform.text(key)]
        if unmodelled:
            words = " and ".join(unmodelled)
            self.notes.append(f"{words} of {transform.name} are not evaluated.")
            return  # they take the place of what else the transform says
        clone = transform.text("CLONE_SOURCETYPE")
        if clone and self._only(SOURCETYPE) != clone:
            if transform.matches is not False:
                self.notes.append(f"{transform.name} makes a second event of source type {clone}.")
            return
        key = transform.text("DEST_KEY")
        if key in self.keys:
            if transform.matches or transform.text("DEFAULT_VALUE"):
                self.keys[key] = []  # it cannot stay what it was
            self.keys[key].extend(_written(transform, key))

    def _matches(self, settings: Settings, work: Work) -> bool | None:
        regex = _text(settings, "REGEX")
        if regex in ANY_TEXT:
            return True
        subject = self._subject(settings)
        if subject is None:
            return None
        try:
            return Pattern(regex, REGEX, work, anywhere=True).matches(subject)
        except Unreadable:
            return None

    def _subject(self, settings: Settings) -> str | None:
        """What the expression is held against; None where it is not known."""
        key = _text(settings, "SOURCE_KEY")
        known = self._only(key)
        return None if known is None else PREFIXES.get(key, "") + known

    def _only(self, key: str) -> str | None:
        """What a key is for certain."""
        outcomes = self.keys.get(key, ())
        return outcomes[0].value if len(outcomes) == 1 and outcomes[0].when is None else None


def _text(settings: Settings, key: str) -> str:
    return settings[key].value if key in settings else ""


def _named(props: Settings) -> Iterator[tuple[Resolved, str]]:
    for word in CLASSES:
        for key in sorted(key for key in props if key.startswith(word)):
            for name in comma_separated(props[key].value):
                yield props[key], name


def _written(transform: Transform, key: str) -> Iterator[Outcome]:
    if transform.matches is not False:
        condition = None if transform.matches else _condition(transform)
        written = transform.text("FORMAT") or f"{transform.name}::$1"
        yield Outcome(_value(written, key), condition, transform.said)
    default = transform.text("DEFAULT_VALUE")
    if default and not transform.matches:
        condition = None if transform.matches is False else f"not: {_condition(transform)}"
        said = (transform.settings["DEFAULT_VALUE"], *transform.said)
        yield Outcome(_value(default, key), condition, said)


def _value(text: str, key: str) -> str | None:
    return None if _CAPTURE.search(text) else text.removeprefix(PREFIXES.get(key, ""))


def _condition(transform: Transform) -> str:
    subject = transform.text("SOURCE_KEY") or "_raw"
    return f"{subject} matches {transform.text('REGEX')}"
