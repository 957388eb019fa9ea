"""Rules in requests: a map in, a described list out.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response#rule-operations
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from proton import Described, ulong

from .errors import MalformedError
from .filters import CorrelationFilter, Filter, Rule, SqlAction, SqlFilter
from .message import Value

_RULE: Final = 0x13700000004
_NO_ACTION: Final = 0x13700000005
_SQL_ACTION: Final = 0x13700000006
_SQL_FILTER: Final = 0x1370000006
_TRUE_FILTER: Final = 0x1370000007
_CORRELATION_FILTER: Final = 0x1370000009
# In the order of the described list, in which the application properties come last.
_CORRELATION: Final = {
    "correlation-id": "correlation_id",
    "message-id": "message_id",
    "to": "to",
    "reply-to": "reply_to",
    "label": "subject",
    "session-id": "session_id",
    "reply-to-session-id": "reply_to_session_id",
    "content-type": "content_type",
}


def read_name(body: Mapping[Value, Value]) -> str:
    """Read which rule a request is about; raise MalformedError."""
    name = body.get("rule-name")
    if not isinstance(name, str) or not name:
        raise MalformedError("'rule-name' must be a string that is not empty")
    return name


def read(body: Mapping[Value, Value]) -> Rule:
    """Read the rule that a request is to add; raise MalformedError."""
    described = _map(body, "rule-description")
    sql, correlation = (described.get(name) is not None for name in ("sql-filter", "correlation-filter"))
    if sql is correlation:
        raise MalformedError("a rule has a 'sql-filter' or a 'correlation-filter', and not both")
    condition: Filter
    try:
        if sql:
            condition = SqlFilter(_expression(described, "sql-filter"))
        else:
            condition = _read_correlation(_map(described, "correlation-filter"))
        changes = described.get("sql-rule-action") is not None
        action = SqlAction(_expression(described, "sql-rule-action")) if changes else None
    except ValueError as error:
        raise MalformedError(str(error)) from error
    return Rule(name=read_name(body), filter=condition, action=action)


def describe(rule: Rule) -> Described:
    """Tell a rule as Service Bus does."""
    condition, action = rule.filter, rule.action
    if isinstance(condition, SqlFilter):
        told = Described(ulong(_SQL_FILTER), [condition.text])
    elif isinstance(condition, CorrelationFilter):
        fields: list[Value] = [condition.properties.get(name) for name in _CORRELATION.values()]
        if condition.application_properties:  # the SDK for JavaScript takes a map, and no null
            fields.append(dict(condition.application_properties))
        told = Described(ulong(_CORRELATION_FILTER), fields)
    else:
        told = Described(ulong(_TRUE_FILTER), [])
    done = (
        Described(ulong(_NO_ACTION), []) if action is None else Described(ulong(_SQL_ACTION), [action.text])
    )
    return Described(ulong(_RULE), [told, done, rule.name])


def _read_correlation(wanted: Mapping[Value, Value]) -> CorrelationFilter:
    properties = {
        ours: wanted[theirs] for theirs, ours in _CORRELATION.items() if wanted.get(theirs) is not None
    }
    application = {} if wanted.get("properties") is None else _map(wanted, "properties")
    if not all(isinstance(text, str) for text in (*properties.values(), *application)):
        raise MalformedError("the values and names in a 'correlation-filter' must be strings")
    if not all(isinstance(value, str | int | float | UUID) for value in application.values()):
        raise MalformedError("application properties in a 'correlation-filter' must have simple values")
    return CorrelationFilter(properties=properties, application_properties=application)


def _expression(described: Mapping[Value, Value], name: str) -> str:
    text = _map(described, name).get("expression")
    if not isinstance(text, str):
        raise MalformedError(f"the 'expression' of {name!r} must be a string")
    return text


def _map(body: Mapping[Value, Value], name: str) -> dict[Value, Value]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise MalformedError(f"{name!r} must be a map")
    return value
