"""``scripts/test-worker.ps1`` parses, and takes the steps of ``scripts/test_worker.py``.

No PowerShell is run: its twin is, by ``tests/integration/test_worker_script.py``.
"""

import ast
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from tests.command_line import REPOSITORY, script_module

POWERSHELL = REPOSITORY / "scripts" / "test-worker.ps1"
PYTHON = REPOSITORY / "scripts" / "test_worker.py"
PARAMETERS = {"LockFile", "Url", "UserName", "Compose", "Timeout"}
VARIABLE = re.compile(r"\$\((?P<path>[$\w.]+)\)|\$\{(?P<braced>\w+)\}|\$(?P<plain>\w+)")
METHODS = {"GET", "POST"}

Said = list[tuple[str, ...]]


def tree(source: bytes) -> Node:
    return Parser(Language(tree_sitter_powershell.language())).parse(source).root_node


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


def wrong(source: bytes) -> list[str]:
    """Where the grammar does not hold."""
    return [
        f"line {node.start_point.row + 1}: {node.type}"
        for node in nodes(tree(source))
        if node.is_error or node.is_missing
    ]


def placeholder(name: str) -> str:
    """Both languages' variables by one name, without what they are members of."""
    return f"{{{name.rpartition('.')[2].lower().replace('_', '').lstrip('$')}}}"


def words_of(node: Node) -> str:
    """A string with its variables named, anything else as it stands."""
    text = (node.text or b"").decode()
    if text[:1] not in {'"', "'"}:
        return placeholder(text)
    return VARIABLE.sub(lambda found: placeholder(str(found[found.lastindex or 0])), text[1:-1])


def commands(name: str) -> Said:
    """The arguments of every call of a function, from the top of the PowerShell script."""
    found = []
    for node in nodes(tree(POWERSHELL.read_bytes())):
        called = node.child_by_field_name("command_name") if node.type == "command" else None
        if called is not None and called.text == name.encode():
            elements = [child for part in node.children[1:] for child in part.children]
            found.append(
                tuple(words_of(e) for e in elements if e.type == "array_literal_expression")
            )
    return found


def python_words(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(python_words(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return python_words(node.value)
    if isinstance(node, ast.Call):  # " ".join(words)
        return python_words(node.args[0])
    return str(node.value) if isinstance(node, ast.Constant) else placeholder(ast.unparse(node))


def calls(name: str) -> Said:
    """The same of the Python script: of a function, or a method."""
    found = [
        node
        for node in ast.walk(ast.parse(PYTHON.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name
    ]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    return [tuple(python_words(argument) for argument in node.args) for node in found]


def requests(found: Said) -> list[tuple[str, str]]:
    """Method and path of each."""
    pairs = []
    for arguments in found:
        method = next(n for n, word in enumerate(arguments) if word in METHODS)
        pairs.append((arguments[method], arguments[method + 1]))
    return pairs


def test_the_powershell_script_is_powershell() -> None:
    assert wrong(POWERSHELL.read_bytes()) == []
    assert POWERSHELL.read_text().isascii()  # else Windows wants a mark of its encoding


def test_what_is_no_powershell_is_noticed() -> None:
    source = POWERSHELL.read_bytes()

    assert wrong(source.replace(b"try {", b"try {{", 1))
    assert wrong(source.replace(b'"stack"', b'"stack', 1))


def test_both_say_the_same_at_the_same_steps() -> None:
    said = commands("Say")

    assert said == calls("say")
    assert list(dict.fromkeys(step for step, _ in said)) == [
        "stack", "clean up", "sign in", "submit", "watch", "retry", "report", "FAILED", "PASSED",
    ]  # fmt: skip


def test_both_fail_in_the_same_words_and_with_the_same_codes() -> None:
    assert commands("Stop-Test") == [
        (words, *(code.lower().replace("_", "") for code in codes))
        for words, *codes in calls("Failure")
    ]


def test_both_clean_up_the_same() -> None:
    words = [message for message, *_ in commands("Invoke-CleanUp")]

    assert words == [message for (message,) in calls("clean_up")]
    assert sorted(set(words)) == [
        "request {requestid} is withdrawn",
        "signed out",
        "the stack is stopped",
    ]


def test_both_ask_the_same_of_the_api() -> None:
    asked = requests(commands("Invoke-Api"))

    assert asked == requests(calls("call"))
    assert ("POST", "/api/packages/requests/{requestid}/retry") in asked


def test_both_take_the_same_options() -> None:
    block = next(n for n in nodes(tree(POWERSHELL.read_bytes())) if n.type == "param_block")
    declared = {
        (child.text or b"").decode().lstrip("$")
        for node in nodes(block) if node.type == "script_parameter"
        for child in node.children if child.type == "variable"
    }  # fmt: skip
    options = {words[0].strip("-").lower() for words in calls("add_argument")}

    assert declared == PARAMETERS
    assert {name.lower() for name in declared} == options


@pytest.mark.parametrize("fails", ["", "up", "exec"])
def test_a_composed_stack_is_taken_away_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    script, log = script_module("test_worker"), tmp_path / "log"
    program = tmp_path / "docker"
    program.write_text(
        f'#!/bin/sh\nshift 5\necho "$@" >>{log}\n[ "$1" != "{fails}" ] || exit 9\n'
        '[ "$1" != exec ] || echo \'{"username": "test-worker", "password": "made"}\'\n'
    )
    program.chmod(0o755)
    init = tmp_path / "scripts" / "init-env"
    init.parent.mkdir()
    init.write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(script, "REPOSITORY", tmp_path)
    monkeypatch.setattr(script.Stack, "refusal", lambda stack: stack.url.strip(script.LOCAL))

    with ExitStack() as running:
        if fails:
            running.enter_context(pytest.raises(script.Failure, match="ended with 9"))
        stack = running.enter_context(script.start_compose(5))
        assert (stack.username, stack.password) == ("test-worker", "made")

    asked = ["up -d", "exec -T api lockkeeper user add test-worker --json", "down --volumes"]
    if fails == "up":
        del asked[1]
    assert log.read_text().splitlines() == asked
