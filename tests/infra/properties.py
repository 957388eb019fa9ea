"""Checks what infra/ sets against the classes of Microsoft's management packages: names, types, words.

    python -m tests.infra.properties      (in the environment that `make infra` sets up)

The packages know the newest API version of a resource, and the template may name an older one.
"""

import difflib
import enum
import importlib
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import typing_extensions

from tests.infra import bicep
from tests.infra.bicep import Expression, Loop, Value

_INFRA = Path(__file__).parents[2] / "infra"
_INSIGHTS = "azure.mgmt.applicationinsights"
_CLASSES = {
    "Microsoft.Authorization/roleAssignments": (
        "azure.mgmt.authorization.v2022_04_01.models",
        "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Insights/actionGroups": ("azure.mgmt.monitor.models", "ActionGroupResource"),
    "Microsoft.Insights/components": (f"{_INSIGHTS}.v2020_02_02.models", "ApplicationInsightsComponent"),
    "Microsoft.Insights/metricAlerts": ("azure.mgmt.monitor.models", "MetricAlertResource"),
    "Microsoft.Insights/scheduledQueryRules": ("azure.mgmt.monitor.models", "ScheduledQueryRuleResource"),
    "Microsoft.Insights/workbooks": (f"{_INSIGHTS}.v2023_06_01.models", "Workbook"),
    "Microsoft.KeyVault/vaults": ("azure.mgmt.keyvault.types", "VaultCreateOrUpdateParameters"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("azure.mgmt.msi.v2024_11_30.models", "Identity"),
    "Microsoft.Network/natGateways": ("azure.mgmt.network.types", "NatGateway"),
    "Microsoft.Network/networkSecurityGroups": ("azure.mgmt.network.types", "NetworkSecurityGroup"),
    "Microsoft.Network/privateEndpoints": ("azure.mgmt.network.types", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": (
        "azure.mgmt.network.types",
        "PrivateDnsZoneGroup",
    ),
    "Microsoft.Network/publicIPAddresses": ("azure.mgmt.network.types", "PublicIPAddress"),
    "Microsoft.Network/virtualNetworks": ("azure.mgmt.network.types", "VirtualNetwork"),
    "Microsoft.ServiceBus/namespaces": ("azure.mgmt.servicebus.types", "SBNamespace"),
    "Microsoft.ServiceBus/namespaces/queues": ("azure.mgmt.servicebus.types", "SBQueue"),
    "Microsoft.ServiceBus/namespaces/topics": ("azure.mgmt.servicebus.types", "SBTopic"),
    "Microsoft.ServiceBus/namespaces/topics/subscriptions": ("azure.mgmt.servicebus.types", "SBSubscription"),
    "Microsoft.ServiceBus/namespaces/topics/subscriptions/rules": ("azure.mgmt.servicebus.types", "Rule"),
    "Microsoft.Storage/storageAccounts": ("azure.mgmt.storage.types", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("azure.mgmt.storage.types", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (
        "azure.mgmt.storage.types",
        "BlobContainer",
    ),
    "Microsoft.Storage/storageAccounts/managementPolicies": ("azure.mgmt.storage.types", "ManagementPolicy"),
    "Microsoft.Storage/storageAccounts/tableServices": ("azure.mgmt.storage.types", "TableServiceProperties"),
    "Microsoft.Storage/storageAccounts/tableServices/tables": ("azure.mgmt.storage.types", "Table"),
    "Microsoft.Web/serverfarms": ("azure.mgmt.web.types", "AppServicePlan"),
    "Microsoft.Web/sites": ("azure.mgmt.web.types", "Site"),
}
# No package says in a form that can be read here what these take; they are few and small.
_UNKNOWN = {
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.OperationalInsights/workspaces",
    "Microsoft.Resources/resourceGroups",
}
# Bicep's own, or the request's path and envelope.
_ENVELOPE = {"name", "parent", "scope", "dependsOn", "location", "tags"}


def main() -> int:
    problems: list[str] = []
    checked = unknown = 0
    for path in sorted(_INFRA.rglob("*.bicep")):
        for resource in bicep.read(path).resources.values():
            kind = resource.kind.partition("@")[0]
            if kind in _UNKNOWN:
                unknown += 1
                continue
            if kind not in _CLASSES:
                problems.append(f"{path.name}: {kind} has no class here: name it in _CLASSES")
                continue
            module, name = _CLASSES[kind]
            body = resource.value.body if isinstance(resource.value, Loop) else resource.value
            assert isinstance(body, dict)
            given = {key: value for key, value in body.items() if key not in _ENVELOPE}
            schema = getattr(importlib.import_module(module), name)
            problems += [f"{path.name}: {resource.name}{said}" for said in _wrong(given, schema)]
            checked += 1
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{checked} resources checked by their classes, {unknown} have none, {len(problems)} problems")
    return 1 if problems or not checked else 0


def _wrong(value: Value, schema: typing.Any) -> Iterator[str]:
    """Say what does not fit; what is computed may be anything."""
    schema = _plain(schema)
    if schema is None or value is None or isinstance(value, Expression):
        return
    if isinstance(value, Loop):
        value = [value.body]
    members = _members(schema)
    if members is not None and isinstance(value, dict):
        for key, inner in value.items():
            if key in members:
                yield from (f".{key}{said}" for said in _wrong(inner, members[key]))
            else:
                near = difflib.get_close_matches(key, members, 1)
                yield f" has no property {key}" + (f": is it {near[0]}?" if near else "")
    elif typing.get_origin(schema) is list and isinstance(value, list):
        (item,) = typing.get_args(schema)
        for inner in value:
            yield from (f"[]{said}" for said in _wrong(inner, item))
    elif isinstance(schema, type) and issubclass(schema, enum.Enum):
        words = [one.value for one in schema]
        if value not in words:
            yield f": {value!r} is none of {words}"
    elif typing.get_origin(schema) is dict:
        if not isinstance(value, dict):
            yield f": an object is wanted, not {value!r}"
    elif schema in (str, int, bool, float):
        wanted = (int, float) if schema is float else (schema,)
        if type(value) not in wanted:
            yield f": {schema.__name__} is wanted, not {value!r}"
    else:
        yield f": {value!r} does not fit {schema}"


def _plain(schema: typing.Any) -> typing.Any:
    """Take the one type that counts of a union, None for anything; a word list counts more than text."""
    if schema is typing.Any or schema is object:
        return None
    if typing.get_origin(schema) is typing.Literal:
        return enum.Enum("Word", {str(word): word for word in typing.get_args(schema)})
    if typing.get_origin(schema) in (typing.Union, types.UnionType):
        parts = [_plain(part) for part in typing.get_args(schema) if part is not type(None)]
        words = [part for part in parts if isinstance(part, type) and issubclass(part, enum.Enum)]
        return words[0] if words else parts[0] if len(parts) == 1 else None
    return schema


def _members(schema: typing.Any) -> dict[str, typing.Any] | None:
    """Name an object's properties and their types, if it is one with properties."""
    if isinstance(schema, dict):
        return schema
    if typing_extensions.is_typeddict(schema):
        module = importlib.import_module(schema.__module__)
        models = importlib.import_module(f"{module.__package__}.models")
        return typing_extensions.get_type_hints(schema, globalns={**vars(models), **vars(module)})
    if not hasattr(schema, "_attribute_map"):
        return None
    return _old_members(schema)


def _old_members(schema: typing.Any) -> dict[str, typing.Any]:
    """Read a model of the older generation: "properties.severity": "int" lies in an object of its own."""
    models = importlib.import_module(schema.__module__.rpartition(".")[0])
    tree: dict[str, typing.Any] = {}
    for entry in schema._attribute_map.values():
        *outer, last = entry["key"].replace("\\.", "\0").split(".")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last.replace("\0", ".")] = _old_type(entry["type"], models)
    return tree


def _old_type(name: str, models: types.ModuleType) -> typing.Any:
    if name.startswith("["):
        return list[_old_type(name[1:-1], models)]  # type: ignore[misc] # a type made at run time
    simple = {"str": str, "int": int, "bool": bool, "float": float}
    schema = simple.get(name) or getattr(models, name, typing.Any)
    # What can be one of several classes is told apart by a property, and not followed.
    return typing.Any if getattr(schema, "_subtype_map", None) else schema


if __name__ == "__main__":
    sys.exit(main())
