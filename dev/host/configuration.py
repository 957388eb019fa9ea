"""What host.json and local.settings.json say, checked. Defaults are those of the Functions host."""

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigurationError(Exception):
    """A file that the developer has to correct before the host can start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """The `extensions.http` section.

    https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook#hostjson-settings
    """

    prefix: str = "api"
    concurrent: int = -1  # -1: no bound, as in the host
    outstanding: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusOptions:
    """The `extensions.serviceBus` section.

    https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus#hostjson-settings
    """

    concurrent_calls: int = 16
    prefetch: int = 0
    lock_renewal: timedelta = timedelta(minutes=5)
    auto_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    http: HttpOptions = field(default_factory=HttpOptions)
    service_bus: ServiceBusOptions = field(default_factory=ServiceBusOptions)


def read_host_json(path: Path) -> HostOptions:
    """Read host.json, or take the defaults where there is none.

    Raises ConfigurationError if a value is of the wrong kind.
    """
    extensions = _section(_read(path) if path.exists() else {}, "extensions", path)
    http = _section(extensions, "http", path)
    service_bus = _section(extensions, "serviceBus", path)
    return HostOptions(
        http=HttpOptions(
            prefix=_value(http, "routePrefix", str, "api", path).strip("/"),
            concurrent=_bound(http, "maxConcurrentRequests", path),
            outstanding=_bound(http, "maxOutstandingRequests", path),
        ),
        service_bus=ServiceBusOptions(
            concurrent_calls=_count(service_bus, "maxConcurrentCalls", 16, 1, path),
            prefetch=_count(service_bus, "prefetchCount", 0, 0, path),
            lock_renewal=_duration(service_bus, "maxAutoLockRenewalDuration", "00:05:00", path),
            auto_complete=_value(service_bus, "autoCompleteMessages", bool, True, path),
        ),
    )


def load_settings(path: Path, environment: MutableMapping[str, str]) -> None:
    """Put the `Values` of local.settings.json into the environment; what is set there already wins.

    https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file
    Raises ConfigurationError if the file is encrypted or a value is no string.
    """
    content = _read(path)
    if content.get("IsEncrypted") is True:
        raise ConfigurationError(
            f"{path} is encrypted; run `func settings decrypt`, or write it in plain text."
        )
    values = _section(content, "Values", path)
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigurationError(f"{path}: these Values must be strings: {', '.join(wrong)}.")
    for name, value in values.items():
        environment.setdefault(name, value)


def parse_duration(text: str) -> timedelta:
    """Read the usual forms of a .NET TimeSpan: hh:mm:ss or d.hh:mm:ss.

    Raises ValueError for anything else.
    """
    days, dot, clock = text.rpartition(".")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    if hours > 23 or minutes > 59 or seconds > 59 or min(hours, minutes, seconds) < 0:
        raise ValueError(text)
    return timedelta(days=int(days) if dot else 0, hours=hours, minutes=minutes, seconds=seconds)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a JSON object.")
    return content


def _section(within: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    return _value(within, name, dict, {}, path)


def _value(within: Mapping[str, Any], name: str, kind: type[T], default: T, path: Path) -> T:
    value = within.get(name, default)
    if type(value) is not kind:  # not isinstance: a JSON true is no number
        raise ConfigurationError(f"{path}: {name} must be of type {kind.__name__}.")
    return value


def _count(within: Mapping[str, Any], name: str, default: int, least: int, path: Path) -> int:
    value = _value(within, name, int, default, path)
    if value < least:
        raise ConfigurationError(f"{path}: {name} must be at least {least}.")
    return value


def _bound(within: Mapping[str, Any], name: str, path: Path) -> int:
    value = _value(within, name, int, -1, path)
    if value != -1 and value < 1:
        raise ConfigurationError(f"{path}: {name} must be -1 (no bound) or at least 1.")
    return value


def _duration(within: Mapping[str, Any], name: str, default: str, path: Path) -> timedelta:
    text = _value(within, name, str, default, path)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {name} must look like 00:05:00.") from error
