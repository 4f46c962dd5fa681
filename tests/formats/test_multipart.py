"""Messages of several parts, arriving in pieces of any size."""

from __future__ import annotations

from email import message_from_bytes
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.formats.dicomweb.multipart import boundary_of, encode, parts

BOUNDARY = b"bo-und"
_tricky = st.sampled_from([b"\r\n", b"--", b"-", b"\r", b"\n", BOUNDARY, b"\r\n--bo", b"\0x"])
_contents = st.lists(st.lists(_tricky, max_size=8).map(b"".join), min_size=1, max_size=4).filter(
    lambda all_: all(b"--" + BOUNDARY not in one + b"\r\n" for one in all_)
)


def message(contents: list[bytes]) -> bytes:
    body = b"a preamble"
    for content in contents:
        body += b"\r\n--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + content
    return body + b"\r\n--" + BOUNDARY + b"--\r\nan epilogue"


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(body), *(p % (len(body) + 1) for p in places)})
    return [body[a:b] for a, b in pairwise(ends)]


def read(chunks: list[bytes], boundary: bytes = BOUNDARY) -> list[bytes]:
    return [b"".join(part) for part in parts(chunks, boundary)]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(_contents, st.lists(st.integers(0, 1000), max_size=30))
def test_parts_come_back_wherever_the_message_is_cut(
    contents: list[bytes], places: list[int]
) -> None:
    assert read(cut(message(contents), places)) == contents


@settings(derandomize=True, max_examples=100, deadline=None)
@given(_contents, st.integers(0, 1000))
def test_a_message_that_ends_early_is_never_taken_for_whole(
    contents: list[bytes], place: int
) -> None:
    body = message(contents)
    closing = body.rindex(b"--\r\nan epilogue") + 2
    with pytest.raises(EOFError):
        read([body[: place % closing]])


def test_without_a_preamble_and_without_headers() -> None:
    assert read([b"--bo-und\r\n\r\nabc\r\n--bo-und  \r\nA: b\r\n\r\n\r\n--bo-und--"]) == [
        b"abc",
        b"",
    ]


def test_a_header_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        read([b"--bo-und\r\n", *[b"x" * 10_000] * 20])


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=a-b', b"a-b"),
        ('Multipart/Related; boundary="a b;c"; type="application/dicom"', b"a b;c"),
        ("multipart/related; type=application/dicom", None),
        ("multipart/related; boundary=", None),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_the_boundary_is_in_the_content_type(kind: str, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


def test_what_is_encoded_is_read_by_the_standard_library() -> None:
    contents = [b"one\r\n", b"\0\1--two\r\n\r\n"]
    kind, body = encode(contents)
    found = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    assert found.get_param("type") == "application/dicom"
    pieces = found.get_payload()
    assert isinstance(pieces, list)
    assert [p.get_content_type() for p in pieces] == ["application/dicom"] * 2
    assert read([body], boundary_of(kind) or b"") == contents
