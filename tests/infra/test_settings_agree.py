"""The app settings that are read, that the template sets, that the local example shows: one list."""

import ast
import json
import re
from typing import Any

from tests.infra.template import MODULES, PARAMETERS, ROOT

# What the app or the host reads, and the template leaves out.
NOT_SET = {
    "SERVICEBUS": "a connection string has a key in it, and the namespace takes none",
    "MAX_WEBHOOK_BYTES": "has a default; the parameter `settings` takes it",
    "MAX_REQUEST_BYTES": "has a default; the parameter `settings` takes it",
    "KEEP_DELIVERIES": "off by default; the parameter `settings` takes it",
    "FORWARDED_HOPS": "has a default; the parameter `settings` takes it",
    "HEALTH_KEY": "a secret",
}
# What the template sets, and no line of ours reads.
READ_BY_OTHERS = {
    "AzureWebJobsStorage__tableServiceUri": "the Functions host, for the diagnostics that the portal shows",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "the Functions host",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the Functions host",
    "AZURE_CLIENT_ID": "azure-identity's DefaultAzureCredential",
}
# A connection with a user-assigned identity is these, each behind the connection's name and two underscores:
# https://learn.microsoft.com/azure/azure-functions/functions-reference#common-properties-for-identity-based-connections
IDENTITY = {"credential", "clientId"}
REACHED_AT = {"AzureWebJobsStorage": "blobServiceUri", "SERVICEBUS": "fullyQualifiedNamespace"}
# What the local example does not show: each has a default that suits a local stack.
NOT_SHOWN = {
    "MAX_WEBHOOK_BYTES",
    "MAX_REQUEST_BYTES",
    "KEEP_DELIVERIES",
    "KEEP_DELIVERIES_DAYS",
    "FORWARDED_HOPS",
    "HEALTH_KEY",
    "SERVICEBUS__fullyQualifiedNamespace",
}
# What only the local example shows.
LOCAL = {"FUNCTIONS_WORKER_RUNTIME": "Core Tools need it, and Flex Consumption refuses it"}
# https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#deprecated-properties-and-settings
REFUSED_BY_FLEX = {
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_VNET_ROUTE_ALL",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "ENABLE_ORYX_BUILD",
}


def read_by_settings() -> set[str]:
    """Name what services/settings.py asks for: what each of its readers is given first."""
    asked: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "services/settings.py").read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.args[0].value
            if isinstance(name, str) and re.fullmatch(r"[A-Z][A-Z_]+[A-Z](__\w+)?", name):
                asked.add(name)
    return asked


def decorators() -> list[ast.Call]:
    tree = ast.parse((ROOT / "function_app.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    return [one for node in functions for one in node.decorator_list if isinstance(one, ast.Call)]


def connections() -> set[str]:
    """Name the connections of triggers; a timer's leases and the function keys lie in AzureWebJobsStorage."""
    named: set[str] = {"AzureWebJobsStorage"}
    for call in decorators():
        named |= {
            str(keyword.value.value)
            for keyword in call.keywords
            if keyword.arg == "connection" and isinstance(keyword.value, ast.Constant)
        }
    return named


def referred_to() -> set[str]:
    """Name the app settings that host.json or a decorator takes in by %NAME%."""
    strings = [
        node.value for call in decorators() for node in ast.walk(call) if isinstance(node, ast.Constant)
    ]
    texts = [(ROOT / "host.json").read_text(), *map(str, strings)]
    return {name for text in texts for name in re.findall(r"%(\w+)%", text)}


def needed() -> set[str]:
    by_identity = {f"{name}__{part}" for name in connections() for part in {*IDENTITY, REACHED_AT[name]}}
    return read_by_settings() | referred_to() | by_identity


def set_by_template() -> set[str]:
    listed: Any = MODULES["app"].vars["ownSettings"].value
    names = [entry["name"] for entry in listed]
    assert len(names) == len(set(names))
    return set(names)


def shown_locally() -> set[str]:
    values = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    secrets = re.compile(r".*_(API_KEY|SIGNING_SECRET|TOKEN_KEY)")
    return {name for name in values if not (name.startswith("PROVIDER_") or secrets.fullmatch(name))}


def test_the_template_sets_what_is_read_but_for_what_is_explained() -> None:
    assert needed() - set_by_template() == set(NOT_SET)


def test_what_the_template_sets_is_read_by_us_or_by_whom_it_is_explained() -> None:
    assert set_by_template() - needed() == set(READ_BY_OTHERS)


def test_the_local_example_shows_the_same_settings_but_for_what_is_explained() -> None:
    local = {*LOCAL, *connections(), *read_by_settings()} - NOT_SHOWN
    assert shown_locally() == local


def test_the_readers_of_the_sources_find_what_is_there() -> None:
    assert {"JOB_STORE", "SERVICEBUS", "SERVICEBUS__fullyQualifiedNamespace", "KEEP_DELIVERIES_DAYS"} <= (
        read_by_settings()
    )
    assert connections() == {"AzureWebJobsStorage", "SERVICEBUS"}


def test_the_template_sets_nothing_that_flex_consumption_refuses() -> None:
    assert set_by_template() & REFUSED_BY_FLEX == set()


def test_what_a_deployment_adds_comes_behind_the_template_s_own() -> None:
    app: Any = MODULES["app"].resources["app"].value
    assert app["properties"]["siteConfig"]["appSettings"].text == "concat(ownSettings,furtherSettings)"
    assert PARAMETERS["settings"] == {}
