"""That the template's files fit together: modules, parameters, roles, what azd is told."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from services.bootstrap import JOBS_TABLE, PAYLOADS_CONTAINER
from services.kept import DELIVERIES
from services.messages import ORPHANS
from services.outbox import SPOOL
from services.receive import HANDSHAKES
from tests.infra.bicep import Expression
from tests.infra.template import INFRA, MAIN, MODULES, PARAMETERS, ROOT, body

AZURE_YAML: Any = yaml.safe_load((ROOT / "azure.yaml").read_text())
PIPELINE_VARIABLES = set(AZURE_YAML["pipeline"]["variables"])
BY_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}
SOURCES = {"main": (INFRA / "main.bicep").read_text()} | {
    name: (INFRA / "modules" / f"{name}.bicep").read_text() for name in MODULES
}
TEMPLATES = {"main": MAIN, **MODULES}


def module_of(call: str) -> str:
    return Path(MAIN.modules[call].kind).stem


def placeholder(value: Any) -> tuple[str, str] | None:
    found = re.fullmatch(r"\$\{(\w+)(?:=(.*))?\}", value) if isinstance(value, str) else None
    return (found[1], found[2]) if found else None


def grants(module: str) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Say of each role assignment of a module on what, to whom, and which roles."""
    template = MODULES[module]
    found = {}
    for name, resource in template.resources.items():
        if not resource.kind.startswith("Microsoft.Authorization/roleAssignments@"):
            continue
        entry = body(template, name)
        (role,) = re.findall(r"roleDefinitions',(\w+)\)", entry["properties"]["roleDefinitionId"].text)
        ids: Any = template.vars[role].value if role in template.vars else None
        if ids is None:  # a loop over a list of them
            over: Any = resource.value
            ids = template.vars[re.findall(r"\w+Roles", over.over)[0]].value
            if any(isinstance(one, Expression) for one in ids):
                ids = [template.vars[one.text].value for one in ids]
        names = tuple(ROLES[one] for one in (ids if isinstance(ids, list) else [ids]))
        found[name] = (entry["scope"].text, entry["properties"]["principalId"].text, names)
    return found


@pytest.mark.parametrize("call", MAIN.modules)
def test_a_module_is_given_its_parameters_and_no_others(call: str) -> None:
    given: Any = MAIN.modules[call].value
    parameters = MODULES[module_of(call)].params
    assert set(given["params"]) <= set(parameters)
    required = {name for name, parameter in parameters.items() if not parameter.has_value}
    assert required <= set(given["params"])


def test_an_output_that_is_taken_from_a_module_is_one_of_its_own() -> None:
    taken = re.findall(r"\b(\w+)!?\.outputs\.(\w+)", SOURCES["main"])
    assert len(taken) > 30
    missing = [(call, name) for call, name in taken if name not in MODULES[module_of(call)].outputs]
    assert missing == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_whatever_is_declared_is_used(name: str) -> None:
    declared = {*TEMPLATES[name].params, *TEMPLATES[name].vars}
    unused = {one for one in declared if len(re.findall(rf"\b{one}\b", SOURCES[name])) < 2}
    assert unused == set()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_used_and_takes_only_local_ones(name: str) -> None:
    assert name in {module_of(call) for call in MAIN.modules}
    assert MODULES[name].modules == {}


@pytest.mark.parametrize("name", MAIN.params)
def test_a_parameter_says_what_it_is_for(name: str) -> None:
    (said,) = MAIN.params[name].decorators["description"]
    assert isinstance(said, str)
    assert said.endswith((".", "}"))


def test_no_parameter_is_a_secret() -> None:
    names = [name for template in TEMPLATES.values() for name in template.params]
    assert [name for name in names if re.search("secret|password|apikey|token", name, re.IGNORECASE)] == []
    assert [name for name, source in SOURCES.items() if "@secure" in source or "listKeys" in source] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_that_azd_gives_has_the_template_s_default(name: str) -> None:
    declared = MAIN.params[name]
    given = placeholder(PARAMETERS[name])
    if given is None:
        assert PARAMETERS[name] == declared.value
        return
    variable, default = given
    assert variable in BY_AZD | PIPELINE_VARIABLES
    if default is None:
        assert variable in BY_AZD
    else:
        spelled = json.dumps(declared.value) if not isinstance(declared.value, str) else declared.value
        assert default == spelled


def test_azd_is_never_left_to_ask_for_a_parameter() -> None:
    without_default = {name for name, parameter in MAIN.params.items() if not parameter.has_value}
    assert without_default == {"environmentName", "location"}
    assert without_default <= set(PARAMETERS)


def test_a_pipeline_gets_every_variable_that_an_environment_can_set() -> None:
    variables = {found[0] for value in PARAMETERS.values() if (found := placeholder(value))}
    assert variables - BY_AZD == PIPELINE_VARIABLES
    workflow: Any = yaml.safe_load((ROOT / ".github/workflows/azure-dev.yml").read_text())
    passed = workflow["jobs"]["deploy"]["env"]
    assert set(passed) >= PIPELINE_VARIABLES
    assert {name for name, value in passed.items() if value != f"${{{{ vars.{name} }}}}"} == set()


def test_the_app_has_these_roles_and_no_others() -> None:
    to_app = {
        (module, scope, role)
        for module in MODULES
        for scope, whom, roles in grants(module).values()
        for role in roles
        if whom == "appPrincipalId"
    }
    assert to_app == {
        ("storage", "storage", "Storage Blob Data Owner"),
        ("storage", "storage", "Storage Table Data Contributor"),
        ("vault", "vault", "Key Vault Secrets User"),
        ("monitoring", "insights", "Monitoring Metrics Publisher"),
        ("bus", "events", "Azure Service Bus Data Sender"),
        ("bus", "inboxQueue", "Azure Service Bus Data Sender"),
        ("bus", "inboxQueue", "Azure Service Bus Data Receiver"),
        ("bus", "inboxQueue", "Azure Service Bus Data Owner"),
    }
    # Owner only where it is asked for, and that is not the default.
    assert "resource appManages" in SOURCES["bus"]
    assert re.search(r"resource appManages .* = if \(scaleByQueueLength\) \{", SOURCES["bus"])
    assert MAIN.params["scaleByQueueLength"].value is False


def test_who_deploys_has_these_roles_if_it_is_a_person() -> None:
    to_operator = {
        (module, scope, role)
        for module in MODULES
        for scope, whom, roles in grants(module).values()
        for role in roles
        if whom == "operatorId"
    }
    assert to_operator == {
        ("storage", "storage", "Storage Blob Data Contributor"),
        ("storage", "storage", "Storage Table Data Contributor"),
        ("vault", "vault", "Key Vault Secrets Officer"),
        ("bus", "namespace", "Azure Service Bus Data Sender"),
        ("bus", "namespace", "Azure Service Bus Data Receiver"),
    }
    assert MAIN.vars["operatorId"].value == Expression("principalType=='User'?principalId:''")


def test_nothing_can_be_opened_by_a_key() -> None:
    storage, vault = body(MODULES["storage"], "storage"), body(MODULES["vault"], "vault")
    assert storage["properties"]["allowSharedKeyAccess"] is False
    assert storage["properties"]["allowBlobPublicAccess"] is False
    assert vault["properties"]["enableRbacAuthorization"] is True
    assert vault["properties"]["enablePurgeProtection"] is True
    assert body(MODULES["bus"], "namespace")["properties"]["disableLocalAuth"] is True
    assert body(MODULES["monitoring"], "insights")["properties"]["DisableLocalAuth"] is True


def test_storage_has_the_table_and_the_container_that_the_app_opens() -> None:
    assert body(MODULES["storage"], "jobs")["name"] == JOBS_TABLE == "jobs"
    assert body(MODULES["storage"], "payloads")["name"] == PAYLOADS_CONTAINER == "hookbus"


def test_storage_deletes_what_is_kept_for_people_and_never_what_waits_to_be_told() -> None:
    (rule,) = body(MODULES["storage"], "lifecycle")["properties"]["policy"]["rules"]
    prefixes = rule["definition"]["filters"]["prefixMatch"]
    assert prefixes == [
        f"{PAYLOADS_CONTAINER}/{name}" for name in (DELIVERIES, HANDSHAKES, ORPHANS, "unreadable/")
    ]
    assert not any(f"{PAYLOADS_CONTAINER}/{SPOOL}".startswith(prefix) for prefix in prefixes)


def test_azure_yaml_is_valid_and_names_the_service_that_the_app_s_tag_names() -> None:
    schema = json.loads((Path(__file__).parent / "azure.yaml.schema.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(AZURE_YAML)
    # The schema lets any word stand in a service.
    assert AZURE_YAML["services"] == {"hookbus": {"project": ".", "language": "python", "host": "function"}}
    assert "'azd-service-name': 'hookbus'" in SOURCES["main"]
    hooks = AZURE_YAML["hooks"]["postprovision"]
    assert {(ROOT / hook["run"]).is_file() for hook in hooks.values()} == {True}


def test_what_azd_stores_of_a_deployment_is_what_the_command_line_reads() -> None:
    settings = {
        "JOB_STORE",
        "PAYLOAD_STORE",
        "SECRET_SOURCE",
        "SERVICEBUS__fullyQualifiedNamespace",
        "PUBLIC_URL",
        "PROVIDERS",
    }
    assert settings <= set(MAIN.outputs)
    assert {"AZURE_LOCATION", "AZURE_TENANT_ID", "AZURE_RESOURCE_GROUP", "OUTBOUND_IP"} <= set(MAIN.outputs)


def test_the_documentation_names_what_can_be_set_and_every_alert() -> None:
    told = (ROOT / "docs/deploy.md").read_text()
    for value in PARAMETERS.values():
        variable, default = placeholder(value) or ("", "")
        if variable in PIPELINE_VARIABLES:
            (row,) = re.findall(rf"^\| `{variable}` \| (.*?) \|", told, re.MULTILINE)
            assert row == (f"`{default}`" if default else row)
    rules: Any = MODULES["alerts"].vars["rules"].value
    names = [f"hookbus-{rule['name']}" for rule in rules]
    names += [body(MODULES["alerts"], name)["name"] for name in ("deadLetters", "backlog")]
    assert [name for name in names if f"| `{name}` |" not in told] == []
    thresholds = set(re.findall(r"\| `(\w+)` \|$", told, re.MULTILINE))
    assert len(thresholds) == 5
    assert thresholds <= set(MAIN.params)


def test_every_abbreviation_is_used() -> None:
    abbreviations = json.loads((INFRA / "abbreviations.json").read_text())
    assert {name for name in abbreviations if f"abbrs.{name}" not in SOURCES["main"]} == set()
    assert set(re.findall(r"abbrs\.(\w+)", SOURCES["main"])) == set(abbreviations)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name
)
def test_a_workflow_pins_its_actions_and_asks_for_little(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert [
        one for one in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)
    ] == []
    assert used
    workflow: Any = yaml.safe_load(path.read_text())
    writes = {name for name, right in workflow["permissions"].items() if right == "write"}
    assert writes == ({"id-token"} if path.name == "azure-dev.yml" else set())
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("name", ["postprovision.sh", "smoke.sh"])
def test_a_hook_can_be_run(name: str) -> None:
    assert shutil.which(str(INFRA / "hooks" / name))
