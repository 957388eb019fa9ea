"""The settings, read once from a mapping: all that is missing or malformed is reported together, by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from services.errors import OperatorError

PROVIDER_PREFIX = "PROVIDER_"
_ADDRESS = r"https://[A-Za-z0-9.:-]+/?"
# https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
_STORAGE = r"(?s)UseDevelopmentStorage=true;?|.*(AccountKey|SharedAccessSignature)=.+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a deployment decides.

    `job_store`, `payload_store` and `secret_source` choose an adapter by their form: `sqlite:PATH` or a table
    endpoint or connection string; `file:PATH` or a blob endpoint or connection string; `environment` or a
    vault's address. `servicebus` is a connection string, `servicebus_namespace` a host name reached with the
    app's identity; one of the two is set.
    """

    job_store: str = field(repr=False)
    payload_store: str = field(repr=False)
    secret_source: str
    servicebus: str = field(repr=False)
    servicebus_namespace: str
    public_url: str
    max_webhook_bytes: int
    max_request_bytes: int
    keep_deliveries: bool
    keep_deliveries_for: timedelta
    forwarded_hops: int
    health_key: str = field(repr=False)


def read_settings(values: Mapping[str, str]) -> Settings:
    """Read the settings; raises OperatorError that names every setting to mend."""
    problems: list[str] = []

    def required(name: str, meaning: str) -> str:
        value = values.get(name, "").strip()
        if not value:
            problems.append(f"{name} is missing: {meaning}")
        return value

    def form(name: str, meaning: str, *forms: str) -> str:
        value = required(name, meaning)
        if value and not any(re.fullmatch(one, value) for one in forms):
            problems.append(f"{name} must be {meaning}")
        return value

    def number(name: str, default: int, least: int, most: int) -> int:
        text = values.get(name, "").strip() or str(default)
        if text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most:
            return int(text)
        problems.append(f"{name} must be a whole number from {least} to {most}")
        return default

    def switch(name: str) -> bool:
        text = values.get(name, "").strip().lower() or "false"
        if text not in {"true", "false"}:
            problems.append(f"{name} must be true or false")
        return text == "true"

    servicebus = values.get("SERVICEBUS", "").strip()
    namespace = values.get("SERVICEBUS__fullyQualifiedNamespace", "").strip()
    if servicebus and "Endpoint=sb://" not in servicebus:
        problems.append("SERVICEBUS must be a connection string, Endpoint=sb://...")
    if namespace and not re.fullmatch(r"[A-Za-z0-9.-]+", namespace):
        problems.append("SERVICEBUS__fullyQualifiedNamespace must be a host name, with no https:// before it")
    if not servicebus and not namespace:
        problems.append(
            "SERVICEBUS is missing: a connection string (or SERVICEBUS__fullyQualifiedNamespace, a host name)"
        )
    public_url = required("PUBLIC_URL", "the https:// address at which third parties reach this app").rstrip(
        "/"
    )
    if public_url and not _is_origin(public_url):
        problems.append("PUBLIC_URL must be http(s)://HOST[:PORT], with no path, query or user")
    if not provider_names(values):
        problems.append("PROVIDERS is missing: the providers to serve, for example stripe,replicate")
    settings = Settings(
        job_store=form(
            "JOB_STORE",
            "sqlite:PATH, a table endpoint https://..., or a storage connection string",
            r"sqlite:.+",
            _ADDRESS,
            _STORAGE,
        ),
        payload_store=form(
            "PAYLOAD_STORE",
            "file:PATH, a blob endpoint https://..., or a storage connection string",
            r"file:.+",
            _ADDRESS,
            _STORAGE,
        ),
        secret_source=form(
            "SECRET_SOURCE", "environment, or the vault's https:// address", "environment", _ADDRESS
        ),
        servicebus=servicebus,
        servicebus_namespace=namespace,
        public_url=public_url,
        max_webhook_bytes=number("MAX_WEBHOOK_BYTES", 1024 * 1024, 1024, 64 * 1024 * 1024),
        max_request_bytes=number("MAX_REQUEST_BYTES", 256 * 1024, 1024, 512 * 1024),
        keep_deliveries=switch("KEEP_DELIVERIES"),
        keep_deliveries_for=timedelta(days=number("KEEP_DELIVERIES_DAYS", 30, 1, 3650)),
        forwarded_hops=number("FORWARDED_HOPS", 1, 1, 9),
        health_key=values.get("HEALTH_KEY", ""),
    )
    if problems:
        raise OperatorError("settings to mend:\n" + "\n".join(f"- {problem}" for problem in problems))
    return settings


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return False
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and bare


def provider_names(values: Mapping[str, str]) -> tuple[str, ...]:
    """Read which providers to serve, PROVIDERS=stripe,replicate."""
    names = (name.strip() for name in values.get("PROVIDERS", "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def provider_options(values: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Read each provider's own options: PROVIDER_ACME__START_URL is acme's start_url."""
    found: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        name, separator, option = key.removeprefix(PROVIDER_PREFIX).partition("__")
        if key.startswith(PROVIDER_PREFIX) and separator:
            found.setdefault(name.lower(), {})[option.lower()] = value
    return found
