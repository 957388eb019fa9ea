"""Finds an app's functions and checks them as Microsoft's worker does: one bad one refuses the app.

The checks are those of `Registry.add_indexed_function` and `loader.index_function_app` in
https://github.com/Azure/azure-functions-python-worker (azure_functions_runtime 1.3, functions.py and
loader.py).
"""

import importlib.util
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func
from azure.functions.decorators.core import AuthLevel, Cardinality, DataType, Trigger
from azure.functions.decorators.http import HttpTrigger
from azure.functions.decorators.servicebus import ServiceBusQueueTrigger, ServiceBusTopicTrigger
from azure.functions.decorators.timer import TimerTrigger

# https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Utility.cs
# (FunctionNameValidationRegex)
NAME = re.compile(r"(?!host$)[a-z][a-z0-9_\-]{0,127}", re.IGNORECASE | re.ASCII)


class AppRefused(Exception):
    """The app cannot be indexed, so that in Azure none of its functions would be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """What wakes a function by HTTP. `methods` is None where every method is taken."""

    route: str
    methods: frozenset[str] | None
    level: AuthLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBus:
    """What wakes a function by a message: a queue, or a topic's subscription."""

    connection: str
    entity: str
    subscription: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """What wakes a function by the clock."""

    schedule: str
    run_on_startup: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the app, ready to be called with what its trigger carries."""

    name: str
    directory: str
    call: Callable[..., Any]
    parameter: str
    takes_context: bool
    returns: bool
    trigger: Http | ServiceBus | Timer


def index(script: Path, environment: Mapping[str, str] = os.environ) -> Sequence[Function]:
    """Import the script and return its functions in the order of their names, upper and lower case alike.

    https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Host/FunctionMetadataManager.cs
    Raises AppRefused, chained to what the script raised if it did.
    """
    module = _load(script)
    apps = {id(value): value for value in vars(module).values() if isinstance(value, func.FunctionRegister)}
    if len(apps) != 1:
        raise AppRefused(f"{script.name} must define one FunctionApp at its top level; it has {len(apps)}.")
    try:
        found = next(iter(apps.values())).get_functions()
    except Exception as error:
        raise AppRefused(f"{script.name}: {error}") from error
    functions = sorted((_function(one, environment) for one in found), key=lambda one: one.name.upper())
    if not functions:
        raise AppRefused(f"{script.name} defines no function.")
    _refuse_conflicts(functions)
    return functions


def converter(binding: str) -> Any:  # noqa: ANN401 - azure-functions gives its classes no common type
    """Return the class by which azure-functions reads or writes what a binding carries."""
    found = func.get_binding_registry().get(binding)  # type: ignore[no-untyped-call]  # not annotated there
    if found is None:
        raise AppRefused(f"this host serves no {binding}.")
    return found


def _load(script: Path) -> ModuleType:
    # On Flex Consumption the app's folder is last on sys.path.
    if str(script.parent) not in sys.path:
        sys.path.append(str(script.parent))
    specification = importlib.util.spec_from_file_location(script.stem, script)
    if specification is None or specification.loader is None:
        raise AppRefused(f"{script} is no Python file.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[script.stem] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise AppRefused(f"{script.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _function(found: func.Function, environment: Mapping[str, str]) -> Function:
    name = found.get_function_name() or ""
    if not NAME.fullmatch(name):
        raise AppRefused(f"{name}: a function's name is a letter, then letters, digits, _ and -.")
    call = found.get_user_function()
    try:
        annotations = typing.get_type_hints(call)
    except Exception as error:
        raise AppRefused(f"{name}: its annotations cannot be read: {error}") from error
    trigger = found.get_trigger()
    if trigger is None:
        raise AppRefused(f"{name}: it has no trigger.")
    parameters = set(inspect.signature(call).parameters)
    takes_context = "context" in parameters and trigger.name != "context"
    if takes_context:
        parameters.remove("context")
        _check_context(name, annotations)
    bound = {binding.name: binding for binding in found.get_bindings()}
    answer = bound.pop("$return", None)
    _check_parameters(name, parameters, set(bound))
    unserved = [str(one.type) for one in bound.values() if one is not trigger]
    if answer is not None and answer.type != "http":
        unserved.append(str(answer.type))
    if unserved:
        raise AppRefused(f"{name}: this host serves no {', '.join(unserved)} binding.")
    _check_input(name, trigger, annotations)
    if answer is not None:
        _check_answer(name, "http", annotations)
    return Function(
        name=name,
        directory=str(Path(inspect.getfile(call)).parent),
        call=call,
        parameter=trigger.name,
        takes_context=takes_context,
        returns=answer is not None,
        trigger=_trigger(name, trigger, environment),
    )


def _check_context(name: str, annotations: Mapping[str, Any]) -> None:
    annotation = annotations.get("context")
    if annotation is not None and getattr(annotation, "__name__", None) != "Context":
        raise AppRefused(f"{name}: the parameter context must be of type azure.functions.Context.")


def _check_parameters(name: str, declared: set[str], bound: set[str]) -> None:
    if declared - bound:
        raise AppRefused(f"{name}: in Python but not in a decorator: {', '.join(sorted(declared - bound))}.")
    if bound - declared:
        raise AppRefused(f"{name}: in a decorator but not in Python: {', '.join(sorted(bound - declared))}.")


def _check_input(name: str, trigger: Trigger, annotations: Mapping[str, Any]) -> None:
    annotation = annotations.get(trigger.name)
    if annotation is None:
        return
    if not isinstance(annotation, type) and not _is_typing_generic(annotation):
        raise AppRefused(f"{name}: {trigger.name} has the non-type annotation {annotation!r}.")
    if not converter(str(trigger.type)).check_input_type_annotation(annotation):
        raise AppRefused(f"{name}: {trigger.name} cannot be {annotation!r} with a {trigger.type}.")


def _check_answer(name: str, binding: str, annotations: Mapping[str, Any]) -> None:
    if "return" not in annotations:
        return
    annotation = annotations["return"]
    if not isinstance(annotation, type) or not converter(binding).check_output_type_annotation(annotation):
        raise AppRefused(f"{name}: it cannot return {annotation!r} to a {binding} binding.")


def _is_typing_generic(annotation: object) -> bool:
    """Tell whether it is List[X] from typing; the worker refuses list[X], X | None and Optional[X]."""
    origin = typing.get_origin(annotation)
    return type(annotation).__module__ == "typing" and origin not in (None, typing.Union, tuple)


def _trigger(name: str, found: Trigger, environment: Mapping[str, str]) -> Http | ServiceBus | Timer:
    if isinstance(found, HttpTrigger):
        route = found.route or name
        # https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Host/ScriptHost.cs
        if route.strip("/").lower().startswith(("admin", "runtime")):
            raise AppRefused(f"{name}: the host keeps routes that start with admin or runtime for itself.")
        methods = (
            None if found.methods is None else frozenset(str(one.value).upper() for one in found.methods)
        )
        return Http(
            route=route.strip("/"), methods=methods or None, level=found.auth_level or AuthLevel.FUNCTION
        )
    if isinstance(found, ServiceBusQueueTrigger | ServiceBusTopicTrigger):
        if found.data_type != DataType.BINARY.value:
            raise AppRefused(
                f"{name}: data_type must be BINARY; as text, a JSON body's keys replace the metadata."
            )
        if found.cardinality is Cardinality.MANY or found.is_sessions_enabled:
            raise AppRefused(f"{name}: this host serves neither batches (cardinality many) nor sessions.")
        if isinstance(found, ServiceBusQueueTrigger):
            entity, subscription = found.queue_name, None
        else:
            entity = found.topic_name
            subscription = _resolved(name, found.subscription_name, environment)
        return ServiceBus(
            connection=found.connection,
            entity=_resolved(name, entity, environment),
            subscription=subscription,
        )
    if isinstance(found, TimerTrigger):
        schedule = _resolved(name, found.schedule, environment)
        return Timer(schedule=schedule, run_on_startup=bool(found.run_on_startup))
    raise AppRefused(f"{name}: this host serves no {found.type}.")


def _resolved(name: str, text: str, environment: Mapping[str, str]) -> str:
    """Replace each %NAME% by that setting.

    https://learn.microsoft.com/azure/azure-functions/functions-bindings-expressions-patterns#binding-expressions---app-settings
    """

    def setting(match: re.Match[str]) -> str:
        value = environment.get(match[1])
        if value is None:
            raise AppRefused(f"{name}: the setting {match[1]} is not there.")
        return value

    return re.sub("%([^%]+)%", setting, text)


def _refuse_conflicts(functions: Sequence[Function]) -> None:
    """Refuse two functions with the same route and a common method, by the route's text alone.

    https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Host/ScriptHost.cs
    (HttpRoutesConflict)
    """
    served: dict[str, list[tuple[str, frozenset[str] | None]]] = {}
    for function in functions:
        if not isinstance(function.trigger, Http):
            continue
        methods = function.trigger.methods
        others = served.setdefault(function.trigger.route.lower(), [])
        for name, taken in others:
            if methods is None or taken is None or methods & taken:
                raise AppRefused(f"{function.name}: its route and method are those of {name}.")
        others.append((function.name, methods))
