"""Open-Meteo's wire format, as its documentation shows it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer
from services.providers.base import Start
from services.providers.weather import PROVIDER, ForecastInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["forecast"]


def query(**given: Any) -> dict[str, str]:
    request = OPERATION.start(
        Start(
            job_id="job_1",
            input=ForecastInput.model_validate(given),
            api_url="https://api.open-meteo.com",
            api_key="",
            callback_url="",
        )
    )
    parts = urlsplit(request.url)
    assert (request.method, parts.netloc, parts.path) == ("GET", "api.open-meteo.com", "/v1/forecast")
    assert (request.headers, request.body) == ({}, b"")
    return dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))


def test_a_place_is_enough() -> None:
    assert query(latitude=52.52, longitude=13.41) == {
        "latitude": "52.52",
        "longitude": "13.41",
        "hourly": "temperature_2m",
        "timezone": "GMT",
        "forecast_days": "7",
        "temperature_unit": "celsius",
        "wind_speed_unit": "kmh",
        "precipitation_unit": "mm",
    }


def test_variables_are_joined_by_commas() -> None:
    asked = query(
        latitude=0, longitude=-180, hourly=[], daily=["sunrise", "rain_sum"], timezone="Europe/Berlin"
    )
    assert (asked["daily"], asked["timezone"]) == ("sunrise,rain_sum", "Europe/Berlin")
    assert "hourly" not in asked


@pytest.mark.parametrize(
    "change",
    [
        {"latitude": 90.1},
        {"longitude": -180.5},
        {"latitude": float("nan")},
        {"longitude": float("inf")},
        {"latitude": "52.52"},
        {"latitude": None},
        {"hourly": ["temperature_2m&apikey=x"]},
        {"hourly": "temperature_2m"},
        {"hourly": []},
        {"hourly": ["a"] * 41},
        {"forecast_days": 0},
        {"forecast_days": 17},
        {"timezone": "Europe Berlin"},
        {"temperature_unit": "kelvin"},
        {"models": "best_match"},
    ],
    ids=str,
)
def test_an_input_that_open_meteo_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ForecastInput.model_validate({"latitude": 52.52, "longitude": 13.41} | change)


def test_the_answer_is_the_result() -> None:
    started = OPERATION.read_start(HttpAnswer(status=200, body=sample("weather", "start")))
    assert started.status == "succeeded"
    assert started.result == {
        "latitude": 52.52,
        "longitude": 13.419998,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "elevation": 38.0,
        "hourly_units": {"time": "iso8601", "temperature_2m": "°C"},
        "hourly": {"time": ["2026-11-23T00:00", "2026-11-23T01:00"], "temperature_2m": [3.4, None]},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"error":true,"reason":"x"}',
        b'{"latitude":1e999,"longitude":1}',
        b'{"latitude":NaN,"longitude":1}',
        b'{"latitude":52,"longitude":13,"hourly":{"time":7}}',
        b'{"latitude":52,"longitude":13,"hourly":{"time":["Unexpected error while streaming data',
    ],
    ids=["empty", "error", "infinite", "nan", "no-series", "broken-off"],
)
def test_an_answer_that_is_no_forecast_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=body))


def test_a_refusal_is_told_in_their_words() -> None:
    body = b'{"error":true,"reason":"Latitude must be in range of -90 to 90\xc2\xb0. Given: 522.0."}'
    assert PROVIDER.refusal(HttpAnswer(status=400, body=body)) == Failure(
        code="provider_refused", message="Latitude must be in range of -90 to 90°. Given: 522.0."
    )


def test_it_sends_no_callbacks() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(NotUnderstood):
        PROVIDER.read(
            Delivery(method="POST", url="https://x.example/", headers={}, body=b"{}", received_at=when)
        )
