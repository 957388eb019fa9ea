"""What every provider is held to, and how JSON is read."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ValidationError

from services.errors import NotUnderstood
from services.jsons import clean, parse_object
from services.models import Callback, Failure, Status
from services.providers import built_in
from services.providers.base import Input, Started

STRIPE = built_in("stripe")


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_secret": None},
        {"scheme": None},
        {"scheme": None, "signing_secret": None, "tells_secret": True},
        {"default_operation": "fly"},
        {"name": "Stripe"},
    ],
    ids=["no secret", "no scheme", "no secret to tell", "no such operation", "upper case"],
)
def test_a_provider_that_could_not_be_safe_cannot_be_declared(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(STRIPE, **changes)  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"\\udfff": 1}', {"?": 1}),
    ],
)
def test_half_a_surrogate_pair_becomes_what_can_be_written_down(body: bytes, value: object) -> None:
    assert parse_object(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"{" * 100_000,
    ],
)
def test_what_is_no_json_object_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_object(body)


@pytest.mark.parametrize(
    "odd",
    ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\x7f", "\x80", "\x9f", "\ud800\udfff"],
    ids=ascii,
)
def test_control_characters_and_lone_surrogates_are_taken_out_of_names_and_texts(odd: str) -> None:
    given = {f"a{odd}": [f"{odd}b", {"c": f"d{odd}e", "n": 1}]}
    assert clean(given) == {"a": ["b", {"c": "de", "n": 1}]}  # type: ignore[arg-type] # a list is invariant


@pytest.mark.parametrize(
    "text", ["\t", "\n", "\r", " ", "~", "\xa0", "\ud7ff", "\ue000", "\U0001f600"], ids=ascii
)
def test_tabs_line_ends_and_all_that_can_be_shown_stay(text: str) -> None:
    assert clean({text: [text]}) == {text: [text]}


class Scan(BaseModel):
    url: str


class ScanInput(Input):
    pages: int


def test_how_a_job_stands_is_said_in_a_callback_as_it_is() -> None:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    found = Started(external_id="a", status=Status.SUCCEEDED).with_result(Scan, {"url": "u", "more": 1})
    said = found.as_callback(
        event_id="evt_1", event_type="scan.done", operation="scan", job_id="job_1", occurred_at=when
    )
    assert said == Callback(
        event_id="evt_1",
        event_type="scan.done",
        status=Status.SUCCEEDED,
        operation="scan",
        job_id="job_1",
        external_id="a",
        occurred_at=when,
        result={"url": "u"},
    )


def test_a_failure_goes_along_with_a_callback() -> None:
    why = Failure(code="torn", message="The page is torn")
    said = Started(status=Status.FAILED).with_failure(why)
    assert said.as_callback(event_id="1", event_type="x", operation="scan").failure == why


@pytest.mark.parametrize(
    ("found", "answered"),
    [
        (Status.UNKNOWN, Status.RUNNING),
        (Status.RUNNING, Status.RUNNING),
        (Status.SUCCEEDED, Status.SUCCEEDED),
        (Status.FAILED, Status.FAILED),
        (Status.CANCELED, Status.CANCELED),
    ],
)
def test_an_answer_with_a_word_that_nobody_listed_says_that_the_job_goes_on(
    found: Status, answered: Status
) -> None:
    assert Started(external_id="a", status=found).as_answer() == Started(external_id="a", status=answered)


@pytest.mark.parametrize(
    "given", [{"pages": "1"}, {"pages": 1, "webhook_url": "https://evil.example"}], ids=["text", "more"]
)
def test_an_input_takes_only_what_it_declares(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScanInput.model_validate(given)
    assert ScanInput.model_validate({"pages": 1}).pages == 1
