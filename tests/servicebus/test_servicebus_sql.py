"""The SQL of rules: its grammar and its values, what no text may do, and what the SDK sees of it."""

import asyncio
import contextlib
import itertools
import json
import math
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from proton import Message as Sent
from proton import decimal64, float32, symbol, timestamp, ubyte, ulong

from dev.servicebus.config import ConfigError, parse
from dev.servicebus.filters import (
    NOWHERE,
    Arrival,
    CorrelationFilter,
    Rule,
    SqlAction,
    SqlFilter,
    TrueFilter,
    copies,
)
from dev.servicebus.message import Content, decode
from dev.servicebus.process import Running, start
from dev.servicebus.sql import Scope, SqlError, action, condition
from tests.servicebus.conftest import Bus

ID = UUID("12345678-1234-5678-1234-567812345678")
APPLICATION: dict[str, Any] = {
    "colour": "red",
    "size": 7,
    "price": 2.5,
    "urgent": True,
    "nothing": None,
    "at": timestamp(5),
    "id": ID,
    "small": ubyte(3),
    "short": float32(1.5),
    "bits": decimal64(1),
    "raw": b"red",
    "big": ulong(2**63),
    "in": "keyword",
    "HR-EmployeeID": "h",
    'quo"te]': "q",
    "Straße": "s",
}
SCOPE = Scope(
    system={"subject": "news", "message_id": "m1", "delivery_count": 0, "enqueued_time": timestamp(9)},
    user=APPLICATION,
    new_id=lambda: ID,
)


def message(**properties: Any) -> Content:
    application = properties.pop("application", APPLICATION)
    return decode(Sent(body=b"x", properties=application, **properties).encode())


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        # names
        ("colour = 'red'", True),
        ("COLOUR = 'red'", True),
        ("user.colour = 'red'", True),
        ("USER . Colour = 'red'", True),
        ("sys.Label = 'news'", True),
        ("SYS.subject = 'news'", True),
        ("\"colour\" = 'red'", True),
        ("[HR-EmployeeID] = 'h'", True),
        ("[quo\"te]]] = 'q'", True),
        ('"quo""te]" = \'q\'', True),
        ("user.[in] = 'keyword'", True),
        ("Straße = 's'", True),
        ("label = 'news'", None),
        # comparisons
        ("colour <> 'red'", False),
        ("colour != 'blue'", True),
        ("colour = 'Red'", False),
        ("size > 6 AND size >= 7 AND size < 8 AND size <= 7", True),
        ("size = 7.0", True),
        ("price = 2.5 AND price > 2", True),
        ("9007199254740993 = 9007199254740992.0", True),
        ("small = 3", True),
        ("big > 9223372036854775807", True),
        ("urgent = TRUE", True),
        ("urgent = 1", None),
        ("size = '7'", None),
        ("colour > 'a'", None),
        ("urgent > FALSE", None),
        ("at < sys.EnqueuedTimeUtc", True),
        ("at < 9", None),
        ("bits = 1", None),
        ("raw = 'red'", None),
        ("raw = raw", None),
        ("id = newid()", True),
        ("id > newid()", None),
        ("missing = 1", None),
        ("missing <> 1", None),
        ("nothing = NULL", None),
        ("1 = 1", True),
        ("1=0", False),
        # three values
        ("missing = 1 AND 1 = 1", None),
        ("missing = 1 AND 1 = 0", False),
        ("1 = 0 AND missing = 1", False),
        ("missing = 1 OR 1 = 1", True),
        ("missing = 1 OR 1 = 0", None),
        ("NOT missing = 1", None),
        ("NOT 1 = 0", True),
        ("NOT NOT 1 = 0", False),
        # precedence
        ("1 = 1 OR 1 = 1 AND 1 = 0", True),
        ("(1 = 1 OR 1 = 1) AND 1 = 0", False),
        ("NOT 1 = 0 AND 1 = 0", False),
        ("NOT (1 = 0 AND 1 = 0)", True),
        ("1 + 2 * 3 = 7", True),
        ("(1 + 2) * 3 = 9", True),
        ("10 - 4 - 3 = 3", True),
        ("2 * 7 % 4 = 2", True),
        ("-size + 8 = 1", True),
        ("- - size = +7", True),
        # IS NULL, EXISTS
        ("missing IS NULL AND nothing IS NULL", True),
        ("colour IS NULL", False),
        ("colour is not null", True),
        ("sys.To IS NULL AND sys.Label IS NOT NULL", True),
        ("EXISTS(colour) AND EXISTS ( nothing )", True),
        ("EXISTS(missing)", False),
        ("NOT EXISTS(sys.To) AND EXISTS(sys.Label)", True),
        # IN
        ("colour IN ('blue', 'red')", True),
        ("colour NOT IN ('blue', 'red')", False),
        ("size IN (1, 'x', 7)", True),
        ("size NOT IN (1, 2)", True),
        ("size IN (1, NULL)", None),
        ("missing IN (1)", None),
        ("missing NOT IN (1)", None),
        # LIKE
        ("colour LIKE 'r%'", True),
        ("colour LIKE '%e%'", True),
        ("colour LIKE 'r_d'", True),
        ("colour LIKE 'R%'", False),
        ("colour LIKE 'r'", False),
        ("colour LIKE 'red%%'", True),
        ("colour LIKE 'red_'", False),
        ("colour NOT LIKE 'b%'", True),
        ("missing LIKE '%'", None),
        ("missing NOT LIKE '%'", None),
        ("size LIKE '7'", None),
        ("'ABC%' LIKE 'ABC\\%' ESCAPE '\\'", True),
        ("'ABCD' LIKE 'ABC\\%' ESCAPE '\\'", False),
        ("'a_b' LIKE 'a!_b' ESCAPE '!' AND NOT 'axb' LIKE 'a!_b' ESCAPE '!'", True),
        ("'a' LIKE 'a!' ESCAPE '!'", None),
        ("'a' LIKE 'a' ESCAPE missing", None),
        ("'a.b' LIKE 'a.b' AND NOT 'axb' LIKE 'a.b'", True),
        ("'line\n' LIKE 'line'", False),
        ("'aXbXb' LIKE '%X_'", True),
        # arithmetic
        ("7 / 2 = 3 AND -7 / 2 = -3 AND 7 / -2 = -3", True),
        ("-7 % 4 = -3 AND 7 % -4 = 3", True),
        ("7 / 2.0 = 3.5", True),
        ("7.5 % 2 = 1.5", True),
        ("1 / 0 = 1", None),
        ("1 % 0 = 1", None),
        ("1 / 0.0 > 1E300 AND -1 / 0.0 < -1E300", True),
        ("0 / 0.0 = 0 / 0.0", False),
        ("1 % 0.0 = 1", False),
        ("9223372036854775807 + 1 > 0", None),
        ("size + missing = 1", None),
        ("size + urgent = 8", None),
        ("-colour = 1", None),
        # texts and numbers
        ("'it''s' = 'it' + '''' + 's'", True),
        ("'a' + 1 = 'a1'", True),
        ("1 + 'a' = '1a'", True),
        ("'a' + small = 'a3'", True),
        ("'a' + missing = 'a'", None),
        ("'a' + 1.5 = 'a1.5'", None),
        ("'' = ''", True),
        ("101.5E5 = 10150000 AND 0.5e-2 = .005 AND 2. = 2", True),
        # functions
        ("property('col' + 'our') = 'red'", True),
        ("P('SIZE') = 7", True),
        ("property(size) = 7", None),
        ("property('missing') = 7", None),
        ("property = 1", None),
        ("\tcolour\n=\r'red' ", True),
    ],
    ids=str,
)
def test_a_text_is_true_false_or_unknown(text: str, truth: bool | None) -> None:
    assert condition(text)(SCOPE) is truth


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "not the end"),
        ("   ", 4, "not the end"),
        ("colour", 1, "a condition was expected"),
        ("TRUE", 1, "a condition was expected"),
        ("colour =", 9, "not the end"),
        ("colour = 'red", 10, "is not closed by '"),
        ("[colour = 1", 1, "is not closed by ]"),
        ('"" = 1', 1, "a name is empty"),
        ("colour == 1", 9, "not '='"),
        ("a = 1 b", 7, "the end or an operator was expected, not 'b'"),
        ("a = b = c", 7, "not '='"),
        ("a = 1 AND", 10, "not the end"),
        ("a = 1 AND b", 11, "a condition was expected"),
        ("(a = 1", 7, "')' was expected"),
        ("a = 1)", 6, "not ')'"),
        ("(a = 1) = 2", 1, "a value was expected"),
        ("1 + (a = 1) = 2", 5, "a value was expected"),
        ("-(a = 1) = 2", 2, "a value was expected"),
        ("NOT a", 5, "a condition was expected"),
        ("a IN ()", 7, "not ')'"),
        ("a IN 1", 6, "'(' was expected"),
        ("a IN (b = 1)", 9, "')' was expected"),
        ("a NOT = 1", 7, "IN or LIKE was expected"),
        ("a LIKE", 7, "not the end"),
        ("a LIKE 'x' ESCAPE 'yy'", 19, "one character"),
        ("1 IS NULL", 1, "IS NULL needs a property"),
        ("a IS 1", 6, "'NULL' was expected"),
        ("EXISTS a", 8, "'(' was expected"),
        ("EXISTS('a')", 8, "a property or a value was expected"),
        ("sys.Body = 1", 5, "'Body' is no system property"),
        ("message.a = 1", 1, "no scope"),
        ("sys. = 1", 6, "the name of a property"),
        ("in = 1", 1, "not 'IN'"),
        ("lower(a) = 1", 1, "no function"),
        ("newid(1) = 1", 7, "')' was expected"),
        ("a = @p", 5, "parameters"),
        ("a = 1; b = 2", 6, "not ';'"),
        ("a = 1 ~ 2", 7, "'~' means nothing"),
        ("_a = 1", 1, "'_' means nothing"),
        ("a² = 1", 2, "'²' means nothing"),
        ("a = 9223372036854775808", 5, "out of range"),
        ("a = 1E999", 5, "out of range"),
        ("a = 1E", 6, "not 'E'"),
        ("a = '\ud800'", 1, "Unicode"),
        ("a = '" + "x" * 1019 + "'", 1025, "1025 characters"),
        ("(" * 33 + "1 = 1" + ")" * 33, 34, "32 deep"),
    ],
    ids=lambda value: value[:20].encode("ascii", "replace").decode() if isinstance(value, str) else "",
)
def test_a_mistake_is_told_with_its_column(text: str, column: int, what: str) -> None:
    with pytest.raises(SqlError) as told:
        condition(text)
    assert str(told.value).startswith(f"column {column}: ")
    assert what in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "x" * 1018 + "'",
        "(" * 32 + "1 = 1" + ")" * 32,
        "-" * 1019 + "1 = 1",
        "NOT " * 200 + "1 = 1",
        "1" + "+1" * 500 + "=501",
        "1=1" + " OR 1=1" * 140,
    ],
    ids=["long", "nested", "signs", "negations", "sum", "alternatives"],
)
def test_the_longest_texts_exhaust_nothing(text: str) -> None:
    assert condition(text)(SCOPE) in (True, False, None)


def test_a_pattern_of_many_wildcards_ends_soon() -> None:
    scope = Scope(system={}, user={"a": "x" * 20_000})
    assert condition("a LIKE '" + "%x" * 400 + "%y'")(scope) is False


def test_a_value_that_doubles_stops_growing() -> None:
    doubled = SqlAction("SET a = 'xxxxxxxxxx';" + "SET a = a + a;" * 31).apply(message())
    assert doubled.application_properties["a"] is None


@pytest.mark.parametrize(
    ("text", "added", "gone"),
    [
        ("SET a = 'x'", {"a": "x"}, set()),
        ("SET a = 1; REMOVE colour; SET b = size / 2;", {"a": 1, "b": 3}, {"colour"}),
        ("SET a = 1 SET b = a + 1", {"a": 1, "b": 2}, set()),
        ("set a = 1, remove SIZE", {"a": 1}, {"size"}),
        ("REMOVE missing", {}, set()),
        ("SET COLOUR = 'blue'", {"colour": "blue"}, set()),
        ("SET small = small + 1", {"small": ubyte(4)}, set()),
        ("SET small = TRUE", {"small": True}, set()),
        ("SET price = TRUE", {"price": True}, set()),
        ("SET small = 256", {"small": 256}, set()),
        ("SET price = 4", {"price": 4.0}, set()),
        ("SET short = 4", {"short": float32(4.0)}, set()),
        ("SET short = 1E39", {"short": 1e39}, set()),
        ("SET size = 'many'", {"size": "many"}, set()),
        ("SET a = missing", {"a": None}, set()),
        ("SET a = sys.SequenceNumber + sys.DeliveryCount", {"a": 12}, set()),
        ("SET a = sys.EnqueuedTimeUtc", {"a": timestamp(34)}, set()),
        ("SET [a b] = TRUE", {"a b": True}, set()),
    ],
    ids=str,
)
def test_an_action_changes_application_properties(text: str, added: dict[str, Any], gone: set[str]) -> None:
    changed = SqlAction(text).apply(message(), Arrival(sequence=12, enqueued_at=34))
    expected = {**{name: value for name, value in APPLICATION.items() if name not in gone}, **added}
    for found in (changed, decode(changed.encode())):
        assert found.application_properties == expected
        types = {name: type(value) for name, value in found.application_properties.items()}
        assert types == {name: type(value) for name, value in expected.items()}


def test_an_action_changes_the_messages_own_properties() -> None:
    sent = Sent(body=b"x", id=ulong(5), subject="old", content_type="text/plain", group_id="s", user_id=b"u")
    sent.group_sequence = 9
    text = (
        "SET sys.Label = 'new'; SET sys.CorrelationId = 7 SET sys.ContentType = sys.ContentType + '+x';"
        "REMOVE sys.SessionId; SET sys.To = missing"
    )
    encoded = SqlAction(text).apply(decode(sent.encode())).encode()
    found = Sent()
    found.decode(encoded)
    assert (found.id, found.subject, found.correlation_id, found.content_type) == (
        ulong(5),
        "new",
        "7",
        symbol("text/plain+x"),
    )
    assert (found.group_id, found.group_sequence, found.user_id, found.address) == (None, 9, b"u", None)
    assert decode(encoded).properties.subject == "new"


def test_a_content_type_that_is_no_symbol_is_taken_away() -> None:
    changed = SqlAction("SET sys.ContentType = 'ü'").apply(message(content_type="text/plain"))
    assert changed.properties.content_type is None
    assert decode(changed.encode()).properties.content_type is None


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "SET or REMOVE"),
        ("SET a", 6, "'=' was expected"),
        ("SET a = ", 9, "not the end"),
        ("SET a = b = c", 11, "SET or REMOVE"),
        ("SET a = (b = c)", 9, "a value was expected"),
        ("SET a = EXISTS(b)", 9, "a value was expected"),
        ("SET 'a' = 1", 5, "a property"),
        ("SET a = 1;;", 11, "SET or REMOVE"),
        ("SET a = 1,", 11, "SET or REMOVE"),
        ("REMOVE a b", 10, "SET or REMOVE"),
        ("SET sys.SequenceNumber = 1", 5, "cannot change"),
        ("REMOVE sys.EnqueuedTimeUtc", 8, "cannot change"),
        ("a = 1", 1, "SET or REMOVE"),
        ("REMOVE a;" * 33, 289, "at most 32"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_mistake_in_an_action_is_told_with_its_column(text: str, column: int, what: str) -> None:
    with pytest.raises(SqlError) as told:
        action(text)
    assert str(told.value).startswith(f"column {column}: ")
    assert what in str(told.value)


@pytest.mark.parametrize("name", ["sys.To", "sys.ReplyTo", "sys.ReplyToSessionId", "sys.SessionId"])
def test_a_filter_reads_every_property_of_a_message(name: str) -> None:
    full = message(
        address="sys.to",
        reply_to="sys.replyto",
        reply_to_group_id="sys.replytosessionid",
        group_id="sys.sessionid",
    )
    assert SqlFilter(f"{name} = '{name.lower()}'").matches(full)
    assert not SqlFilter(f"{name} = '{name.lower()}'").matches(message())


@pytest.mark.parametrize(
    "text",
    [
        "sys.PartitionKey = 'p'",
        "sys.ViaPartitionKey = 'v'",
        "sys.TransactionPartitionKey = 'v'",
        "sys.ScheduledEnqueueTimeUtc = at",
        "sys.ScheduledEnqueueTime = at",
    ],
)
def test_a_filter_reads_what_the_sender_annotated(text: str) -> None:
    annotations = {
        symbol("x-opt-partition-key"): "p",
        symbol("x-opt-via-partition-key"): "v",
        symbol("x-opt-scheduled-enqueue-time"): timestamp(5),
    }
    assert SqlFilter(text).matches(message(annotations=annotations))
    assert not SqlFilter(text).matches(message())


def test_of_two_names_that_differ_in_letter_case_the_exact_one_counts() -> None:
    assert condition("a = 2 AND A = 1")(Scope(system={}, user={"A": 1, "a": 2})) is True


def test_unknown_is_not_taken() -> None:
    assert not SqlFilter("missing = 1").matches(message())
    assert not SqlFilter("NOT missing = 1").matches(message())


def test_each_rule_with_an_action_makes_a_copy_and_the_others_make_one() -> None:
    red = CorrelationFilter(application_properties={"colour": "red"})
    blue = Rule(name="blue", filter=SqlFilter("colour = 'blue'"), action=SqlAction("REMOVE size"))
    rules = (
        Rule(name="first", filter=TrueFilter()),
        Rule(name="red", filter=SqlFilter("colour = 'red'")),
        blue,
        Rule(name="marked", filter=red, action=SqlAction("SET colour = 'blue'")),
        Rule(name="grown", filter=SqlFilter("size = 7"), action=SqlAction("SET size = size + 1")),
    )
    made = copies(rules, message(application={"colour": "red", "size": 7}), NOWHERE)
    assert [one.application_properties for one in made] == [
        {"colour": "red", "size": 7},
        {"colour": "blue", "size": 7, "RuleName": "marked"},
        {"colour": "red", "size": 8, "RuleName": "grown"},
    ]
    made = copies((blue,), message(application={"colour": "blue"}), NOWHERE)
    assert [one.application_properties for one in made] == [{"colour": "blue", "RuleName": "blue"}]


def document(*rules: dict[str, Any]) -> dict[str, Any]:
    topic = {"Name": "t", "Subscriptions": [{"Name": "s", "Rules": list(rules)}]}
    return {"UserConfig": {"Namespaces": [{"Name": "n", "Topics": [topic]}]}}


def rule(name: str, text: str, changes: str | None = None) -> dict[str, Any]:
    properties: dict[str, Any] = {"FilterType": "Sql", "SqlFilter": {"SqlExpression": text}}
    if changes is not None:
        properties["Action"] = {"SqlExpression": changes}
    return {"Name": name, "Properties": properties}


def test_the_file_gives_filters_and_actions() -> None:
    correlated = {
        "Name": "c",
        "Properties": {
            "FilterType": "Correlation",
            "CorrelationFilter": {"Label": "x"},
            "Action": {"SqlExpression": "REMOVE b"},
        },
    }
    [topic] = parse(document(rule("plain", "a = 1"), rule("acting", "a = 2", "SET b = 1"), correlated)).topics
    [subscription] = topic.subscriptions
    assert subscription.rules == (
        Rule(name="plain", filter=SqlFilter("a = 1")),
        Rule(name="acting", filter=SqlFilter("a = 2"), action=SqlAction("SET b = 1")),
        Rule(name="c", filter=CorrelationFilter(properties={"subject": "x"}), action=SqlAction("REMOVE b")),
    )


@pytest.mark.parametrize(
    ("properties", "place", "what"),
    [
        (rule("r", "a == 1")["Properties"], ".SqlFilter.SqlExpression", "column 4: "),
        (rule("r", "a = 1", "SET")["Properties"], ".Action.SqlExpression", "column 4: "),
        ({"FilterType": "Sql"}, "", "needs a SqlFilter"),
        ({"FilterType": "Sql", "SqlFilter": {}}, ".SqlFilter", "needs 'SqlExpression'"),
        ({"FilterType": "Sql", "SqlFilter": {"SqlExpression": 1}}, ".SqlFilter.SqlExpression", "a string"),
        (
            {**rule("r", "a = 1")["Properties"], "CorrelationFilter": {"Label": "x"}},
            ".CorrelationFilter",
            "does not go with FilterType 'Sql'",
        ),
        (
            {"FilterType": "Correlation", "CorrelationFilter": {"Label": "x"}, "SqlFilter": {}},
            ".SqlFilter",
            "does not go with FilterType 'Correlation'",
        ),
    ],
    ids=["filter", "action", "none", "empty", "number", "both", "both the other way"],
)
def test_a_mistake_in_the_file_is_told_with_its_place(
    properties: dict[str, Any], place: str, what: str
) -> None:
    with pytest.raises(ConfigError) as told:
        parse(document({"Name": "r", "Properties": properties}))
    start_of = "UserConfig.Namespaces[0].Topics[0].Subscriptions[0].Rules[0].Properties"
    assert str(told.value).startswith(f"{start_of}{place}: ")
    assert what in str(told.value)


# Fuzzing

WORDS = ("a", "b", "sys", "user", "[a]", '"a"', "'x'", "'%'", "1", "2.5", "1E3", "NULL", "TRUE", "newid()")
MARKS = (".", "(", ")", ",", ";", "=", "<>", "<", "+", "-", "*", "/", "%", "@", "property(", "p(", "EXISTS(")
KEYWORDS = ("AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "IS", "SET", "REMOVE", "sys.Label", "sys.To")
VALUES: dict[str, Any] = {"a": 3, "b": "x%", "c": -2.5, "d": True, "e": None}
FUZZED = message(application=VALUES, subject="news")


@given(
    st.one_of(
        st.text(max_size=200),
        st.lists(st.sampled_from([*WORDS, *MARKS, *KEYWORDS]), max_size=30).map(" ".join),
        st.text(alphabet="ab'\"[]().,;=<>!+-*/%_ 019eE@", max_size=80),
    )
)
@settings(max_examples=1_000, deadline=None)
def test_any_text_is_a_mistake_or_has_a_result(text: str) -> None:
    with contextlib.suppress(SqlError):
        assert SqlFilter(text).matches(FUZZED) in (True, False)
    with contextlib.suppress(SqlError):
        changed = SqlAction(text).apply(FUZZED)
        assert decode(changed.encode()).application_properties.keys() == changed.application_properties.keys()


# What a text means is here said a second time: as a function of the properties, beside its text.
Meaning = Callable[[dict[str, Any]], Any]
Both = tuple[str, Meaning]


def number(value: Any) -> bool:
    return type(value) in (int, float)


def calculated(symbol_: str, left: Any, right: Any) -> Any:
    if symbol_ == "+" and str in (type(left), type(right)):
        return None if {float, type(None)} & {type(left), type(right)} else str(left) + str(right)
    if not number(left) or not number(right):
        return None
    result = {"+": operator.add, "-": operator.sub, "*": operator.mul}[symbol_](left, right)
    return None if isinstance(result, int) and not -(2**63) <= result < 2**63 else result


def compared(symbol_: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if not ((number(left) and number(right)) or type(left) is type(right)):
        return None
    if symbol_ in ("=", "<>"):
        return (left == right) is (symbol_ == "=")
    if not number(left):
        return None
    return bool(left < right) if symbol_ == "<" else bool(left >= right)


def both_of(parts: tuple[Both, str, Both]) -> Both:
    (left, mean_left), word, (right, mean_right) = parts
    rank = {False: 0, None: 1, True: 2}
    pick = min if word == "AND" else max

    def meaning(values: dict[str, Any]) -> Any:
        return pick(mean_left(values), mean_right(values), key=rank.__getitem__)

    return f"({left}) {word} ({right})", meaning


def negated(part: Both) -> Both:
    text, mean = part
    return f"NOT ({text})", lambda values: {True: False, False: True, None: None}[mean(values)]


def constant(text: str, value: Any) -> Both:
    return text, lambda _: value


def joined(function: Callable[[str, Any, Any], Any], pattern: str) -> Callable[[Any], Both]:
    def join(parts: tuple[Both, str, Both]) -> Both:
        (left, mean_left), symbol_, (right, mean_right) = parts
        text = pattern.format(left, symbol_, right)
        return text, lambda values: function(symbol_, mean_left(values), mean_right(values))

    return join


simple: st.SearchStrategy[Both] = st.one_of(
    st.sampled_from([*VALUES, "missing"]).map(lambda name: (name, lambda values: values.get(name))),
    # whole numbers that a double holds too: what a comparison of larger ones means is not documented
    st.integers(0, 2**50).map(lambda value: constant(str(value), value)),
    st.floats(0, 1e6).map(lambda value: constant(f"{value:.3f}", float(f"{value:.3f}"))),
    st.text(alphabet="ax'%_ ü", max_size=4).map(
        lambda value: constant("'" + value.replace("'", "''") + "'", value)
    ),
    st.sampled_from([("TRUE", True), ("false", False), ("NULL", None)]).map(lambda pair: constant(*pair)),
)
expressions = st.recursive(
    simple,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(joined(calculated, "({} {} {})")),
    max_leaves=5,
)
predicates = st.recursive(
    st.tuples(expressions, st.sampled_from(["=", "<>", "<", ">="]), expressions).map(
        joined(compared, "{} {} {}")
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(both_of), inner.map(negated)
    ),
    max_leaves=6,
)


@given(predicates.filter(lambda pair: len(pair[0]) <= 1_024))
@settings(max_examples=500, deadline=None)
def test_a_generated_text_means_what_was_meant(pair: Both) -> None:
    text, meaning = pair
    assert condition(text)(Scope(system={}, user=VALUES)) is meaning(VALUES)


def like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "%":
        return like(value, pattern[1:]) or (bool(value) and like(value[1:], pattern))
    return bool(value) and pattern[0] in ("_", value[0]) and like(value[1:], pattern[1:])


@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="ab%_", max_size=8))
@settings(max_examples=1_000, deadline=None)
def test_like_agrees_with_a_naive_one(value: str, pattern: str) -> None:
    assert condition(f"'{value}' LIKE '{pattern}'")(SCOPE) is like(value, pattern)


@given(st.integers(-(10**6), 10**6), st.integers(-50, 50).filter(bool))
@settings(deadline=None)
def test_division_goes_toward_zero(left: int, right: int) -> None:
    scope = Scope(system={}, user={"l": left, "r": right, "q": math.trunc(left / right)})
    assert condition("l / r = q AND q * r + l % r = l")(scope) is True


# With Microsoft's SDK

SUBSCRIPTIONS: dict[str, list[dict[str, Any]]] = {
    "all": [],
    "blue10": [rule("BlueSize10Orders", "colour='blue' AND quantity=10")],
    "bus": [rule("bus", "sys.Label LIKE '%bus%' OR user.tag IN ('queue', 'topic')")],
    "old": [rule("old", "sys.EnqueuedTimeUtc > since AND sys.SequenceNumber > 0 AND sys.MessageId <> 'm2'")],
    "acting": [
        rule(
            "RedOrdersWithAction",
            "user.colour='red'",
            "SET quantity = quantity / 2; REMOVE priority;SET sys.CorrelationId = 'low';",
        ),
        rule("plain", "colour='red'"),
        rule("plain-too", "quantity > 1"),
    ],
}
EACH = 10
_numbers = itertools.count()


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    subscriptions = [{"Name": name, "Rules": rules} for name, rules in SUBSCRIPTIONS.items()]
    topics = [{"Name": f"topic-{number}", "Subscriptions": subscriptions} for number in range(EACH)]
    path: Path = tmp_path_factory.mktemp("sql") / "Config.json"
    path.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Name": "n", "Topics": topics}]}}))
    with start(path) as running:
        yield running


@pytest_asyncio.fixture(params=["aio", "sync"])
async def bus(request: pytest.FixtureRequest, filtered: Running) -> AsyncIterator[Bus]:
    opened = Bus(request.param, filtered)
    yield opened
    await opened.close()


@pytest.fixture
def topic() -> str:
    return f"topic-{next(_numbers)}"


async def test_subscriptions_take_what_their_texts_say(bus: Bus, topic: str) -> None:
    def order(message_id: str, subject: str | None = None, **properties: str | int) -> ServiceBusMessage:
        return ServiceBusMessage(
            b"x", message_id=message_id, subject=subject, application_properties=dict[Any, Any](properties)
        )

    await bus.sender(topic).send_messages(
        [
            order("m1", colour="blue", quantity=10),
            order("m2", colour="blue", quantity=5),
            order("m3", subject="a bus stop"),
            order("m4", tag="topic"),
            order("m5", colour="blue", quantity="10"),
        ]
    )
    names = ("all", "blue10", "bus", "acting")
    taken = await asyncio.gather(*(bus.receiver(f"{topic}/{name}").receive_messages(9, 3) for name in names))
    found = {name: [one.message_id for one in got] for name, got in zip(names, taken, strict=True)}
    assert found == {
        "all": ["m1", "m2", "m3", "m4", "m5"],
        "blue10": ["m1"],
        "bus": ["m3", "m4"],
        "acting": ["m1", "m2"],
    }


async def test_a_filter_knows_what_the_broker_says_of_a_message(bus: Bus, topic: str) -> None:
    def since(year: int) -> Any:
        return {"since": datetime(year, 1, 1, tzinfo=UTC)}

    await bus.sender(topic).send_messages(
        [
            ServiceBusMessage(
                b"x",
                message_id=name,
                application_properties=since(year),
            )
            for name, year in (("m1", 2020), ("m2", 2020), ("m3", 2999))
        ]
    )
    got = await bus.receiver(f"{topic}/old").receive_messages(9, 3)
    assert [one.message_id for one in got] == ["m1"]


async def test_an_action_changes_only_its_own_copy(bus: Bus, topic: str) -> None:
    await bus.sender(topic).send_messages(
        ServiceBusMessage(
            b"the body",
            message_id="m1",
            correlation_id="high",
            application_properties={"colour": "red", "quantity": 9, "priority": "high"},
        )
    )
    plain, acted = await bus.receiver(f"{topic}/acting").receive_messages(9, 3)
    assert (plain.correlation_id, acted.correlation_id) == ("high", "low")
    assert plain.application_properties == {b"colour": b"red", b"quantity": 9, b"priority": b"high"}
    assert acted.application_properties == {
        b"colour": b"red",
        b"quantity": 4,
        b"RuleName": b"RedOrdersWithAction",
    }
    assert (plain.message_id, acted.message_id, b"".join(acted.body)) == ("m1", "m1", b"the body")
    assert acted.sequence_number == plain.sequence_number + 1
    [other] = await bus.receiver(f"{topic}/all").receive_messages(9, 3)
    assert other.application_properties == plain.application_properties
