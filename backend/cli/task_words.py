"""Tasks and their types in words, from the API's answers about them. Strangers' text is cleaned."""

import json
from collections.abc import Iterator
from typing import Final

from backend.cli.report import Json
from backend.cli.words import plain

LONGEST: Final = 2000  # characters of a sentence that are shown


def ended(task: Json) -> bool:
    return task["status"] in {"completed", "failed", "cancelled"}


def heading(task: Json) -> str:
    """One line: what it is, and how far."""
    far = f" {task['progress']} %" if task["status"] == "running" else ""
    return f"{task['task_id']}  {task['status']:9}{far}  {plain(task['task_type'])}{_about(task)}"


def _about(task: Json) -> str:
    said = ""
    if task["user_id"] is not None and task["user_id"] != task["submitted_by"]:
        said += f", about user {task['user_id']}"
    if task["status"] == "failed" and task["failure"]:
        said += f" ({plain(task['failure'])})"
    if task["next_attempt_at"] is not None:
        said += f", not before {task['next_attempt_at']}"
    return said


def state(task: Json) -> str:
    """How far it is, to be said again and again."""
    if task["status"] == "running":
        message = plain(task["progress_message"] or "")
        return f"running {task['progress']} %" + (f": {message}" if message else "")
    if task["status"] == "pending" and task["error_message"]:
        return f"to be tried again: {plain(task['error_message'], limit=LONGEST)}"
    return str(task["status"])


def outcome(task: Json) -> Iterator[str]:
    """All of it, its result last, as JSON."""
    yield heading(task)
    lane = f"queue {task['queue']}, priority {task['priority']}"
    tried = f"attempt {task['attempts']} of {task['max_attempts']}"
    took = task["duration_seconds"]
    yield f"{lane}, {tried}" + (f", {took:.2f} s" if took is not None else "")
    if task["progress_message"] and not ended(task):
        yield plain(task["progress_message"])
    if task["error_message"]:
        yield f"error: {plain(task['error_message'], limit=LONGEST)}"
    if task["result_expired"]:
        yield "its result has expired"
    if task["result"] is not None:
        yield json.dumps(task["result"], indent=2)  # ASCII: nothing in it moves a terminal


def type_line(kind: Json) -> str:
    """One type, and what it takes."""
    takes = ", ".join(map(plain, kind["parameters"].get("properties", {})))
    needs = "" if kind["allowed"] else f"  (needs {kind['role']})"
    return f"{plain(kind['name'])}  {plain(kind['title'])}{f': {takes}' if takes else ''}{needs}"


def type_page(kind: Json) -> Iterator[str]:
    """All of one type: each parameter on a line."""
    yield type_line(kind)
    yield plain(kind["description"], limit=LONGEST)
    about = {"one": "one user's data", "one or all": "one user's data, or everybody's"}
    subject = about.get(kind["subject"], "the product itself")
    yield f"queue {kind['queue']}, about {subject}; at most {kind['limit_seconds']:.0f} s"
    required = kind["parameters"].get("required", ())
    for name, schema in kind["parameters"].get("properties", {}).items():
        yield f"  {plain(name)}{_parameter(schema, required=name in required)}"


def _parameter(schema: Json, *, required: bool) -> str:
    limits = {
        "minimum": "from", "maximum": "to", "minLength": "length from", "maxLength": "length to",
        "enum": "one of",
    }  # fmt: skip
    said = [str(schema["type"])] if "type" in schema else []
    said += [f"{word} {json.dumps(schema[key])}" for key, word in limits.items() if key in schema]
    if required:
        said.append("required")
    elif schema.get("default") is not None:
        said.append(f"default {json.dumps(schema['default'])}")
    described = schema.get("description")
    listed = f" ({', '.join(said)})" if said else ""
    return listed + (f": {plain(described, limit=LONGEST)}" if described else "")
