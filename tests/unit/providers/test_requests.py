"""How requests to providers are written."""

import pytest

from services.models import HttpRequest, JsonObject
from services.providers.base import Ask
from services.providers.requests import (
    about_job,
    basic,
    bearer,
    form_request,
    json_request,
    multipart_request,
    segment,
)


def test_a_token_and_a_password_stand_in_the_header_that_is_theirs() -> None:
    assert bearer("r8_1") == {"authorization": "Bearer r8_1"}
    assert basic("AC1:pässword") == {"authorization": "Basic QUMxOnDDpHNzd29yZA=="}


def test_json_says_that_it_is_json() -> None:
    assert json_request("PATCH", "https://x.example/a", {"b": [1, "é"]}, {"x-key": "k"}) == HttpRequest(
        method="PATCH",
        url="https://x.example/a",
        headers={"x-key": "k", "content-type": "application/json"},
        body=b'{"b": [1, "\\u00e9"]}',
    )


def test_a_form_says_that_it_is_one_and_gives_lists_field_by_field() -> None:
    assert form_request("https://x.example/a", {"To": "+1 2&x=1", "Event": ["a", "b"]}, {}) == HttpRequest(
        method="POST",
        url="https://x.example/a",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=b"To=%2B1+2%26x%3D1&Event=a&Event=b",
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("resp_67ccd3a9", "resp_67ccd3a9"),
        ("a/../b?c#d%", "a%2F..%2Fb%3Fc%23d%25"),
        ("é ", "%C3%A9%20"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.b", "a.b"),
    ],
)
def test_a_segment_neither_ends_nor_climbs(text: str, written: str) -> None:
    assert segment(text) == written


def test_a_multipart_form_is_parted_by_what_none_of_its_values_holds() -> None:
    request = multipart_request("https://x.example/a", {"a": "1\r\n--", "b": "é"}, {"x-key": "k"})
    boundary = "85814567d13862193f5f1664332287c1525a9ecd5504c30c81c8619fec52e6d0"
    assert request.headers == {"x-key": "k", "content-type": f"multipart/form-data; boundary={boundary}"}
    assert (
        request.body
        == (
            f'--{boundary}\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--\r\n'
            f'--{boundary}\r\ncontent-disposition: form-data; name="b"\r\n\r\né\r\n--{boundary}--\r\n'
        ).encode()
    )


@pytest.mark.parametrize(
    ("path", "external_id", "url"),
    [
        ("/v1/jobs/{id}", "resp_1", "https://x.example/v1/jobs/resp_1"),
        ("/v1/jobs/{id}/cancel?now=1", "a/..?b", "https://x.example/v1/jobs/a%2F..%3Fb/cancel?now=1"),
        ("/v1/status?job={id}&x=1", "a b&c=+#", "https://x.example/v1/status?job=a%20b%26c%3D%2B%23&x=1"),
        ("/v1/jobs/{id}", "{path}", "https://x.example/v1/jobs/%7Bpath%7D"),
        ("/{path}/status", "owner/a model/../b?c", "https://x.example/owner/a%20model/%2E%2E/b%3Fc/status"),
    ],
    ids=["id", "id that would climb", "id in a query", "id that looks like a place for one", "path"],
)
def test_a_request_about_a_job_has_its_id_in_the_address(path: str, external_id: str, url: str) -> None:
    job = Ask(job_id="job_1", external_id=external_id, api_url="https://x.example", api_key="k")
    expected = HttpRequest(method="DELETE", url=url, headers={"authorization": "Bearer k"})
    assert about_job("DELETE", path, bearer)(job) == expected


@pytest.mark.parametrize(
    ("body", "written"),
    [({}, b"{}"), ({"status": "voided"}, b'{"status": "voided"}')],
    ids=["empty", "fields"],
)
def test_a_request_about_a_job_can_have_a_body(body: JsonObject, written: bytes) -> None:
    job = Ask(job_id="job_1", external_id="a", api_url="https://x.example", api_key="k")
    assert about_job("PUT", "/jobs/{id}", bearer, body)(job) == HttpRequest(
        method="PUT",
        url="https://x.example/jobs/a",
        headers={"authorization": "Bearer k", "content-type": "application/json"},
        body=written,
    )
