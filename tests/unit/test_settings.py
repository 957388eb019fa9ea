"""Settings: everything to mend is named at once."""

from datetime import timedelta

import pytest

from services.errors import OperatorError
from services.settings import provider_names, provider_options, read_settings

WHOLE = {
    "SERVICEBUS": "Endpoint=sb://localhost;SharedAccessKey=hush",
    "JOB_STORE": "sqlite:jobs.db",
    "PAYLOAD_STORE": "file:payloads",
    "SECRET_SOURCE": "environment",
    "PUBLIC_URL": "https://hooks.example",
    "PROVIDERS": "stripe, replicate,stripe",
}


def test_a_whole_set_is_read() -> None:
    settings = read_settings(WHOLE)
    assert (settings.job_store, settings.public_url) == ("sqlite:jobs.db", "https://hooks.example")
    assert (settings.max_webhook_bytes, settings.max_request_bytes) == (1048576, 262144)
    assert (settings.keep_deliveries, settings.keep_deliveries_for) == (False, timedelta(days=30))


def test_all_that_is_missing_is_named_together() -> None:
    with pytest.raises(OperatorError) as refused:
        read_settings({})
    for name in ("SERVICEBUS", "JOB_STORE", "PAYLOAD_STORE", "SECRET_SOURCE", "PUBLIC_URL", "PROVIDERS"):
        assert f"- {name} is missing" in str(refused.value)


def test_a_namespace_takes_the_place_of_a_connection_string() -> None:
    values = {k: v for k, v in WHOLE.items() if k != "SERVICEBUS"}
    settings = read_settings({**values, "SERVICEBUS__fullyQualifiedNamespace": "x.servicebus.windows.net"})
    assert settings.servicebus_namespace == "x.servicebus.windows.net"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "hooks.example"),
        ("PUBLIC_URL", "ftp://hooks.example"),
        ("PUBLIC_URL", "https://hooks.example/path"),
        ("PUBLIC_URL", "https://user@hooks.example"),
        ("PUBLIC_URL", "https://hooks.example:port"),
        ("PUBLIC_URL", "https://[::1"),
        ("JOB_STORE", "postgres://x"),
        ("JOB_STORE", "sqlite:"),
        ("JOB_STORE", "http://account.table.core.windows.net"),
        ("PAYLOAD_STORE", "nonsense"),
        ("PAYLOAD_STORE", "file:"),
        ("SECRET_SOURCE", "vault"),
        ("SECRET_SOURCE", "http://vault.vault.azure.net"),
        ("SERVICEBUS", "nonsense"),
        ("SERVICEBUS__fullyQualifiedNamespace", "https://x.servicebus.windows.net/"),
        ("MAX_WEBHOOK_BYTES", "many"),
        ("MAX_WEBHOOK_BYTES", "1023"),
        ("MAX_WEBHOOK_BYTES", "-1"),
        ("MAX_WEBHOOK_BYTES", "\u0665\u0660\u0660\u0660"),
        ("MAX_REQUEST_BYTES", "9" * 5000),
        ("KEEP_DELIVERIES", "yes"),
        ("KEEP_DELIVERIES_DAYS", "0"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(OperatorError, match=f"- {name} must be"):
        read_settings({**WHOLE, name: value})


def test_connection_strings_do_not_show_in_a_repr() -> None:
    assert "hush" not in repr(read_settings(WHOLE))


def test_provider_names_come_once_and_in_order() -> None:
    assert provider_names(WHOLE) == ("stripe", "replicate")


def test_a_providers_options_are_found_by_its_name() -> None:
    values = {
        "PROVIDER_ACME__START_URL": "u",
        "PROVIDER_ACME__AUTH": "none",
        "PROVIDERS": "acme",
        "PROVIDER_X": "-",
    }
    assert provider_options(values) == {"acme": {"start_url": "u", "auth": "none"}}
