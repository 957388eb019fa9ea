"""How secrets, digests, timestamps and headers are read, whichever scheme asks."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.errors import NotVerified, Reason
from services.signatures.parts import (
    Encoding,
    KeyForm,
    Unit,
    check_age,
    header,
    read_key,
    same_digest,
    write_digest,
    write_time,
)
from tests.unit.signatures.samples import NOW, request


@pytest.mark.parametrize(
    ("secret", "form"),
    [
        ("", KeyForm.TEXT),
        ("", KeyForm.HEX),
        ("whsec_", KeyForm.BASE64),
        ("whsec_", KeyForm.MARKED_BASE64),
    ],
    ids=["text", "hex", "prefix-only", "mark-only"],
)
def test_an_empty_key_is_none(secret: str, form: KeyForm) -> None:
    assert read_key(secret, form) is None


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_+w==", b"\xfb"),
        ("whsec_+w", b"\xfb"),
        ("whsec_+wA=", b"\xfb\x00"),
        ("whsec_+wA", b"\xfb\x00"),
        ("+wAX", b"\xfb\x00\x17"),
        ("+wAX=", b"\xfb\x00\x17"),
        ("+wA==", b"\xfb\x00"),
        ("=+wAX", None),
        ("+", None),
    ],
)
def test_the_padding_of_a_key_in_base64_does_not_count(secret: str, key: bytes | None) -> None:
    assert read_key(secret, KeyForm.BASE64) == key


def test_a_header_of_8_kib_is_read() -> None:
    assert header(request(headers={"x": "a" * 8192}), "x") == "a" * 8192
    with pytest.raises(NotVerified) as refused:
        header(request(headers={"x": "a" * 8193}), "x")
    assert refused.value.reason == "malformed_signature"


def test_only_blanks_around_a_header_are_no_part_of_it() -> None:
    assert header(request(headers={"x": " \tX a\x0b\t "}), "x") == "X a\x0b"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [(Encoding.HEX, "fb0017"), (Encoding.BASE64, "+wAX"), (Encoding.BASE64_URL, "-wAX")],
)
def test_a_digest_is_written_to_its_last_letter(encoding: Encoding, text: str) -> None:
    assert write_digest(b"\xfb\x00\x17", encoding) == text


def test_a_ligature_is_no_two_letters() -> None:
    assert same_digest(b"\xff", ["FF"], Encoding.HEX)
    assert not same_digest(b"\xff", ["\ufb00"], Encoding.HEX)


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_a_time_is_written_as_utc_wherever_we_are() -> None:
    assert write_time(NOW, Unit.RFC_3339) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("seconds", "reason"), [(301, Reason.TOO_OLD), (-301, Reason.TOO_NEW)], ids=["old", "new"]
)
def test_a_time_that_is_too_far_away_is_refused_with_how_far(seconds: int, reason: Reason) -> None:
    five_minutes = timedelta(minutes=5)
    with pytest.raises(NotVerified) as refused:
        check_age(NOW - timedelta(seconds=seconds), NOW, past=five_minutes, future=five_minutes)
    assert (refused.value.reason, refused.value.age) == (reason, timedelta(seconds=seconds))
