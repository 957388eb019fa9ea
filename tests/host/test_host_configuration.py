"""What the local host reads from host.json and local.settings.json."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from dev.host.configuration import (
    ConfigurationError,
    HostOptions,
    HttpOptions,
    ServiceBusOptions,
    load_settings,
    parse_duration,
    read_host_json,
)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_a_host_json_the_functions_host_s_defaults_hold(tmp_path: Path) -> None:
    assert read_host_json(tmp_path / "host.json") == HostOptions(
        http=HttpOptions(prefix="api", concurrent=-1, outstanding=-1),
        service_bus=ServiceBusOptions(
            concurrent_calls=16, prefetch=0, lock_renewal=timedelta(minutes=5), auto_complete=True
        ),
    )


def test_host_json_is_read(tmp_path: Path) -> None:
    extensions = {
        "http": {"routePrefix": "/v1/", "maxConcurrentRequests": 5, "maxOutstandingRequests": 7},
        "serviceBus": {
            "maxConcurrentCalls": 2,
            "prefetchCount": 3,
            "maxAutoLockRenewalDuration": "1.00:00:30",
            "autoCompleteMessages": False,
        },
    }
    path = write(tmp_path / "host.json", {"version": "2.0", "extensions": extensions})
    assert read_host_json(path) == HostOptions(
        http=HttpOptions(prefix="v1", concurrent=5, outstanding=7),
        service_bus=ServiceBusOptions(
            concurrent_calls=2, prefetch=3, lock_renewal=timedelta(days=1, seconds=30), auto_complete=False
        ),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ([], "must hold a JSON object"),
        ({"extensions": []}, "extensions must be of type dict"),
        ({"extensions": {"http": {"routePrefix": 1}}}, "routePrefix must be of type str"),
        ({"extensions": {"http": {"maxConcurrentRequests": 0}}}, "maxConcurrentRequests must be -1"),
        (
            {"extensions": {"serviceBus": {"maxConcurrentCalls": True}}},
            "maxConcurrentCalls must be of type int",
        ),
        ({"extensions": {"serviceBus": {"maxConcurrentCalls": 0}}}, "maxConcurrentCalls must be at least 1"),
        ({"extensions": {"serviceBus": {"prefetchCount": -1}}}, "prefetchCount must be at least 0"),
        (
            {"extensions": {"serviceBus": {"maxAutoLockRenewalDuration": "5 min"}}},
            "maxAutoLockRenewalDuration must look like 00:05:00",
        ),
    ],
)
def test_a_wrong_host_json_is_refused_with_the_reason(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_host_json(write(tmp_path / "host.json", content))
    assert reason in str(refused.value)


@pytest.mark.parametrize("text", ["24:00:00", "00:60:00", "00:00:60", "-1:00:00", "1", "1:2", "x", ""])
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text will do
        parse_duration(text)


def test_settings_are_added_and_what_the_environment_has_already_wins(tmp_path: Path) -> None:
    environment = {"KEPT": "from outside"}
    values = {"KEPT": "from the file", "NEW": "from the file"}
    path = write(tmp_path / "local.settings.json", "\ufeff" + json.dumps({"Values": values}))
    load_settings(path, environment)
    assert environment == {"KEPT": "from outside", "NEW": "from the file"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"IsEncrypted": True, "Values": {}}, "is encrypted"),
        ({"Values": {"GOOD": "x", "ONE": 1, "TWO": None}}, "these Values must be strings: ONE, TWO"),
        ({"Values": "x"}, "Values must be of type dict"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(write(tmp_path / "local.settings.json", content), {})
    assert reason in str(refused.value)


def test_a_settings_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path / "local.settings.json", {})
