import io
from collections.abc import Callable, Iterable, Mapping

import pytest

from backend.problems import Malformed, Problem, TooLarge
from backend.workloads.splunk.upload_form import AROUND, FIELD, PARTS, Form, UploadDied, read_form

Took = tuple[str, dict[str, str], bytes]


def field(name: str, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n"


def file(data: bytes, *, name: str = "file", filename: str = "etc.tgz") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: application/gzip\r\n\r\n" + data + b"\r\n"


END = b"--b--\r\n"


def take(filename: str, fields: Mapping[str, str], pieces: Iterable[bytes]) -> Took:
    return filename, dict(fields), b"".join(pieces)


def parsed(
    body: bytes, *, boundary: str = "b", seconds: float = 60, at_once: int = 1 << 20
) -> Form[Took]:
    stream = io.BytesIO(body)
    read: Callable[[int], bytes] = lambda size: stream.read(min(size, at_once))  # noqa: E731
    return read_form(read, boundary, take=take, file_bytes=10_000, seconds=seconds)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_fields_may_stand_before_and_after_the_file(at_once: int) -> None:
    data = b"\r\n--a --b\r\n-\r--b\n--b\r\n--" * 20
    body = field("label", "Köln") + file(data) + field("type", "ds_etc") + END

    form = parsed(body, at_once=at_once)

    assert form.fields == {"label": "Köln", "type": "ds_etc"}
    assert form.taken == ("etc.tgz", {"label": "Köln"}, data)


def test_the_file_is_handed_on_before_the_form_has_ended() -> None:
    """Its pieces are asked for one by one: nothing is read ahead."""
    handed: list[int] = []

    def endless(_size: int) -> bytes:
        handed.append(len(handed))
        return file(b"x" * 1000).removesuffix(b"\r\n") if len(handed) == 1 else b"y" * 1000

    class Enough(Exception):
        pass

    def take_little(_name: str, _fields: Mapping[str, str], pieces: Iterable[bytes]) -> None:
        for number, _ in enumerate(pieces):
            if number == 5:
                raise Enough

    with pytest.raises(Enough):
        read_form(endless, "b", take=take_little, file_bytes=10_000, seconds=60)
    assert len(handed) == 6


WRONG: dict[str, tuple[bytes, type[Problem], str]] = {
    "no file": (field("type", "ds_etc") + END, Malformed, "form.file"),
    "an empty form": (END, Malformed, "form.file"),
    "two files": (file(b"1") + file(b"2") + END, Malformed, "one file"),
    "a file of another name": (file(b"1", name="archive") + END, Malformed, "one file"),
    "a field twice": (field("a", "1") + field("a", "2") + END, Malformed, "more than once"),
    "a field that is no text": (field("a", b"\xff") + END, Malformed, "UTF-8"),
    "a NUL in a field": (field("a", "x\0") + END, Malformed, "not allowed"),
    "a NUL in the file's name": (file(b"1", filename="x\0") + END, Malformed, "not allowed"),
    "a field that is long": (field("a", "x" * (FIELD + 1)) + END, TooLarge, "field"),
    "many fields": (
        b"".join(field(f"f{n}", "") for n in range(PARTS + 1)) + END, TooLarge, "too large",
    ),
    "a header that is long": (field("x" * 20_000, "") + END, TooLarge, "too large"),
    "no disposition": (b"--b\r\nX: y\r\n\r\nz\r\n" + END, Malformed, "cannot be read"),
    "a part of another kind": (
        b"--b\r\nContent-Disposition: attachment\r\n\r\nz\r\n" + END, Malformed, "cannot be read",
    ),
    "something before the boundary": (b"x--b\r\n", Malformed, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_form_that_is_wrong_is_refused_in_one_sentence(wrong: str) -> None:
    body, problem, sentence = WRONG[wrong]
    with pytest.raises(problem, match=sentence) as refused:
        parsed(body)
    assert not isinstance(refused.value, UploadDied)


@pytest.mark.parametrize("boundary", ["", "a\nb"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(Malformed, match="cannot be read"):
        parsed(file(b"1") + END, boundary=boundary)


WHOLE = field("type", "ds_etc") + file(b"bytes") + field("label", "l") + END


@pytest.mark.parametrize("left", range(0, len(WHOLE) - 4, 9))
def test_a_form_that_ends_too_early_has_died(left: int) -> None:
    with pytest.raises(UploadDied):
        parsed(WHOLE[:left])


def test_an_upload_that_takes_too_long_has_died() -> None:
    with pytest.raises(UploadDied, match="too long"):
        parsed(WHOLE, seconds=-1)


def test_text_behind_the_form_is_ignored_but_not_endless() -> None:
    with pytest.raises(TooLarge, match="The form is too large"):
        parsed(WHOLE + b"x" * (AROUND + 10_000))
    assert parsed(WHOLE + b"epilogue").fields == {"type": "ds_etc", "label": "l"}


def test_a_header_that_is_no_text_is_not_quoted() -> None:
    with pytest.raises(Malformed) as refused:
        parsed(b'--b\r\nContent-Disposition: form-data; name="secret\xff"\r\n\r\nz\r\n' + END)
    assert str(refused.value).endswith("failed to decode.")
