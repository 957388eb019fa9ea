"""The SQL of Service Bus rules: a text in, a condition or an action out; what is wrong has its column.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-filter
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-rule-action
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID, uuid4

from proton import decimal32, decimal64, decimal128, timestamp

# A property's value, or a condition's: true, false, or None for UNKNOWN.
Value: TypeAlias = Any
Truth: TypeAlias = bool | None

# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
_MAX_LENGTH: Final = 1_024
_MAX_STATEMENTS: Final = 32
_MAX_VALUE_LENGTH: Final = 32 * 1_024
_LONG: Final = range(-(2**63), 2**63)
_MOST_NESTED: Final = 32

_KEYWORDS: Final = frozenset(
    ("AND", "ESCAPE", "EXISTS", "FALSE", "IN", "IS", "LIKE", "NOT", "NULL", "OR", "REMOVE", "SET", "TRUE")
)
_SYMBOLS: Final = ("<>", "!=", ">=", "<=", *"=<>+-*/%(),.;")
_DIGITS: Final = frozenset("0123456789")
_CLOSING: Final = {"'": "'", '"': '"', "[": "]"}

# The properties of a message, with the names of both generations of SDKs:
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messages-payloads
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-filter-examples#filter-on-system-properties
WRITABLE: Final[Mapping[str, str]] = {
    "contenttype": "content_type",
    "correlationid": "correlation_id",
    "label": "subject",
    "messageid": "message_id",
    "replyto": "reply_to",
    "replytosessionid": "reply_to_session_id",
    "sessionid": "session_id",
    "subject": "subject",
    "to": "to",
}
READABLE: Final[Mapping[str, str]] = {
    **WRITABLE,
    "deliverycount": "delivery_count",
    "enqueuedsequencenumber": "sequence_number",
    "enqueuedtimeutc": "enqueued_time",
    "partitionkey": "partition_key",
    "scheduledenqueuetime": "scheduled_enqueue_time",
    "scheduledenqueuetimeutc": "scheduled_enqueue_time",
    "sequencenumber": "sequence_number",
    "transactionpartitionkey": "via_partition_key",
    "viapartitionkey": "via_partition_key",
}


class SqlError(ValueError):
    """The text is not in the grammar; the message begins with the column, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a text is evaluated on: `system` by the values of READABLE, `user` by the sender's names."""

    system: Mapping[str, Value]
    user: Mapping[str, Value]
    new_id: Callable[[], UUID] = uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A property; `name` is a value of READABLE where it is a system property."""

    name: str
    is_system: bool

    def find(self, scope: Scope) -> Value:
        """Give the value, or None where there is none."""
        return scope.system.get(self.name) if self.is_system else find(scope.user, self.name)

    def exists(self, scope: Scope) -> bool:
        """Say whether the message has it; a system property that is not set is none."""
        if self.is_system:
            return scope.system.get(self.name) is not None
        return spelled(scope.user, self.name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A statement of an action; without a `value` it removes the property."""

    target: Name
    value: Callable[[Scope], Value] | None


def condition(text: str) -> Callable[[Scope], Truth]:
    """Compile a filter; raise SqlError."""
    parser = _Parser(text)
    found = parser.disjunction()
    parser.end()
    return parser.predicate(found).run


def action(text: str) -> tuple[Assignment, ...]:
    """Compile an action; raise SqlError."""
    return tuple(_Parser(text).statements())


def spelled(properties: Mapping[str, Value], name: str) -> str | None:
    """Give a property's name as the sender wrote it: letter case makes no difference."""
    if name in properties:
        return name
    return next((one for one in properties if one.lower() == name.lower()), None)


def find(properties: Mapping[str, Value], name: str) -> Value:
    """Give the value of a property, or None where there is none."""
    found = spelled(properties, name)
    return None if found is None else properties[found]


def as_text(value: Value) -> str | None:
    """Give a value as text, if it has a text that everybody agrees on."""
    if isinstance(value, timestamp | decimal32 | decimal64 | decimal128):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = int(value)  # proton's own integers would give their class
    return str(value) if isinstance(value, str | int | UUID) else None


# Reading


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, quoted name, text, number, or symbol; `at` is where it begins."""

    kind: str
    value: Value
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        start = at
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if char in _CLOSING:
            value, at = _quoted(text, at)
            yield _Token("text" if char == "'" else "name", value, start)
        elif char.isalpha():
            while at < len(text) and (text[at] == "_" or text[at].isalpha() or text[at].isdecimal()):
                at += 1
            word = text[start:at]
            yield (
                _Token("keyword", word.upper(), start)
                if word.upper() in _KEYWORDS
                else _Token("word", word, start)
            )
        elif char in _DIGITS or (char == "." and text[at + 1 : at + 2] in _DIGITS):
            number, at = _number(text, at)
            yield _Token("number", number, start)
        else:
            symbol = next((one for one in _SYMBOLS if text.startswith(one, at)), None)
            if symbol is None:
                _wrong(at, "parameters cannot be given here" if char == "@" else f"{char!r} means nothing")
            at += len(symbol)
            yield _Token("symbol", symbol, start)
    yield _Token("end", "", at)


def _quoted(text: str, start: int) -> tuple[str, int]:
    """Read to the closing mark; two of them stand for one that is meant."""
    closing = _CLOSING[text[start]]
    at = start + 1
    found = []
    while True:
        end = text.find(closing, at)
        if end < 0:
            _wrong(start, f"{text[start]} is not closed by {closing}")
        found.append(text[at:end])
        at = end + 1
        if not text.startswith(closing, at):
            break
        found.append(closing)
        at += 1
    value = "".join(found)
    if not value and closing != "'":
        _wrong(start, "a name is empty")
    return value, at


def _number(text: str, start: int) -> tuple[int | float, int]:
    """Read a long, or what has a point or an exponent as a double."""
    at = _skip_digits(text, start)
    whole = True
    if text.startswith(".", at):
        whole = False
        at = _skip_digits(text, at + 1)
    if text[at : at + 1] in ("e", "E"):
        exponent = at + 1 + (text[at + 1 : at + 2] in ("+", "-"))
        end = _skip_digits(text, exponent)
        if end > exponent:
            whole = False
            at = end
    value = int(text[start:at]) if whole else float(text[start:at])
    if (value not in _LONG) if isinstance(value, int) else math.isinf(value):
        _wrong(start, "the number is out of range")
    return value, at


def _skip_digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in _DIGITS:
        at += 1
    return at


def _wrong(at: int, what: str) -> NoReturn:
    raise SqlError(f"column {at + 1}: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A part of a text, compiled; a predicate's value is a Truth."""

    run: Callable[[Scope], Value]
    at: int
    is_predicate: bool = False
    name: Name | None = None


class _Parser:
    """Recursive descent: OR, AND, NOT, comparison, sum, product, sign, operand, from loose to tight.

    Chains are evaluated in loops and nesting is limited, so that no text exhausts Python's stack.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            _wrong(_MAX_LENGTH, f"the text has {len(text)} characters; {_MAX_LENGTH} are allowed")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise SqlError("column 1: the text is not valid Unicode")
        self._rest = _tokens(text)
        self._token = next(self._rest)
        self._nested = 0

    def end(self) -> None:
        """Refuse what comes after the end."""
        if self._token.kind != "end":
            self._unexpected("the end or an operator")

    def predicate(self, term: _Term) -> _Term:
        """Refuse what is neither true nor false."""
        if not term.is_predicate:
            _wrong(term.at, "a condition was expected, such as a comparison")
        return term

    def disjunction(self) -> _Term:
        """Read predicates between OR, or one expression."""
        return self._chain("OR", self._conjunction, _any)

    def statements(self) -> Iterator[Assignment]:
        """Read the statements of an action."""
        for _ in range(_MAX_STATEMENTS):
            yield self._statement()
            self._take(";")
            if not self._take(",") and self._token.kind == "end":
                return
        _wrong(self._token.at, f"an action has at most {_MAX_STATEMENTS} statements")

    def _statement(self) -> Assignment:
        if self._take("REMOVE"):
            return Assignment(target=self._target(), value=None)
        if not self._take("SET"):
            self._unexpected("SET or REMOVE")
        target = self._target()
        self._need("=")
        return Assignment(target=target, value=self._expression(self._sum()).run)

    def _target(self) -> Name:
        at = self._token.at
        target = self._property()
        if target.is_system and target.name not in WRITABLE.values():
            _wrong(at, "an action cannot change this system property")
        return target

    def _conjunction(self) -> _Term:
        return self._chain("AND", self._negation, _all)

    def _chain(self, word: str, read: Callable[[], _Term], join: Callable[[Iterable[Truth]], Truth]) -> _Term:
        first = read()
        if self._token.kind != "keyword" or self._token.value != word:
            return first
        parts = [self.predicate(first).run]
        while self._take(word):
            parts.append(self.predicate(read()).run)
        return _Term(run=lambda scope: join(part(scope) for part in parts), at=first.at, is_predicate=True)

    def _negation(self) -> _Term:
        at = self._token.at
        count = 0
        while self._take("NOT"):
            count += 1
        found = self._comparison()
        if not count:
            return found
        run = self.predicate(found).run
        return _Term(run=_negated(run) if count % 2 else run, at=at, is_predicate=True)

    def _comparison(self) -> _Term:
        left = self._sum()
        token = self._token
        if token.kind == "symbol" and token.value in _COMPARISONS:
            self._advance()
            compare, ordered = _COMPARISONS[token.value]
            run, other = self._expression(left).run, self._expression(self._sum()).run
            return _Term(
                run=lambda scope: _compare(run(scope), other(scope), compare, ordered=ordered),
                at=left.at,
                is_predicate=True,
            )
        if self._take("IS"):
            negated = self._take("NOT")
            self._need("NULL")
            name = left.name
            if name is None:
                _wrong(left.at, "IS NULL needs a property before it")
            return _Term(
                run=lambda scope: (name.find(scope) is None) is not negated, at=left.at, is_predicate=True
            )
        negated = self._take("NOT")
        if self._take("IN"):
            found = self._membership(self._expression(left).run)
        elif self._take("LIKE"):
            found = self._likeness(self._expression(left).run)
        elif negated:
            self._unexpected("IN or LIKE")
        else:
            return left
        return _Term(run=_negated(found) if negated else found, at=left.at, is_predicate=True)

    def _membership(self, run: Callable[[Scope], Value]) -> Callable[[Scope], Truth]:
        self._need("(")
        choices = [self._expression(self._sum()).run]
        while self._take(","):
            choices.append(self._expression(self._sum()).run)
        self._need(")")

        def contains(scope: Scope) -> Truth:
            value = run(scope)
            return _any(_compare(value, choice(scope), operator.eq, ordered=False) for choice in choices)

        return contains

    def _likeness(self, run: Callable[[Scope], Value]) -> Callable[[Scope], Truth]:
        pattern = self._expression(self._sum()).run
        escape = None
        if self._take("ESCAPE"):
            token = self._token
            escape = self._expression(self._sum()).run
            if token.kind == "text" and len(token.value) != 1:
                _wrong(token.at, "an escape character is one character")

        def is_like(scope: Scope) -> Truth:
            return _like(run(scope), pattern(scope), None if escape is None else escape(scope) or "")

        return is_like

    def _sum(self) -> _Term:
        return self._operators(("+", "-"), self._product)

    def _product(self) -> _Term:
        return self._operators(("*", "/", "%"), self._signed)

    def _operators(self, symbols: tuple[str, ...], read: Callable[[], _Term]) -> _Term:
        first = read()
        rest = []
        while self._token.kind == "symbol" and self._token.value in symbols:
            self._expression(first)
            symbol = self._token.value
            self._advance()
            rest.append((symbol, self._expression(read()).run))
        if not rest:
            return first

        def calculate(scope: Scope) -> Value:
            value = first.run(scope)
            for symbol, operand in rest:
                value = _calculate(symbol, value, operand(scope))
            return value

        return _Term(run=calculate, at=first.at)

    def _signed(self) -> _Term:
        at = self._token.at
        signs = 0
        negative = False
        while self._token.kind == "symbol" and self._token.value in ("+", "-"):
            negative ^= self._token.value == "-"
            signs += 1
            self._advance()
        found = self._operand()
        if not signs:
            return found
        run = self._expression(found).run
        factor = -1 if negative else 1
        return _Term(run=lambda scope: _calculate("*", run(scope), factor), at=at)

    def _operand(self) -> _Term:
        token = self._token
        at = token.at
        if token.kind in ("text", "number"):
            self._advance()
            return _Term(run=lambda _: token.value, at=at)
        if token.kind == "keyword" and token.value in _CONSTANTS:
            self._advance()
            return _Term(run=lambda _: _CONSTANTS[token.value], at=at)
        if self._take("EXISTS"):
            self._need("(")
            name = self._property()
            self._need(")")
            return _Term(run=name.exists, at=at, is_predicate=True)
        if self._take("("):
            with_in = self._inside(self.disjunction)
            return _Term(run=with_in.run, at=at, is_predicate=with_in.is_predicate)
        if token.kind == "word":
            self._advance()
            if self._take("("):
                return self._function(token)
            name = self._named(token)
            return _Term(run=name.find, at=at, name=name)
        name = self._property()
        return _Term(run=name.find, at=at, name=name)

    def _inside(self, read: Callable[[], _Term]) -> _Term:
        """Read what stands in parentheses, of which the first is taken."""
        self._nested += 1
        if self._nested > _MOST_NESTED:
            _wrong(self._token.at, f"parentheses are more than {_MOST_NESTED} deep")
        found = read()
        self._need(")")
        self._nested -= 1
        return found

    def _function(self, word: _Token) -> _Term:
        match word.value.lower():
            case "newid":
                self._need(")")
                return _Term(run=lambda scope: scope.new_id(), at=word.at)
            case "property" | "p":
                run = self._expression(self._inside(self._sum)).run

                def look_up(scope: Scope) -> Value:
                    name = run(scope)
                    return find(scope.user, name) if isinstance(name, str) else None

                return _Term(run=look_up, at=word.at)
        _wrong(word.at, f"{word.value!r} is no function; newid, property and p are")

    def _property(self) -> Name:
        token = self._token
        if token.kind not in ("word", "name"):
            self._unexpected("a property or a value")
        self._advance()
        return self._named(token)

    def _named(self, token: _Token) -> Name:
        """Make a name of this token, or of the one behind its point."""
        if token.kind != "word" or not self._take("."):
            return Name(name=token.value, is_system=False)
        scope = token.value.lower()
        if scope not in ("sys", "user"):
            _wrong(token.at, f"{token.value!r} is no scope; sys and user are")
        token = self._token
        if token.kind not in ("word", "name"):
            self._unexpected("the name of a property")
        self._advance()
        if scope == "user":
            return Name(name=token.value, is_system=False)
        if token.value.lower() not in READABLE:
            _wrong(token.at, f"{token.value!r} is no system property that can be used here")
        return Name(name=READABLE[token.value.lower()], is_system=True)

    def _expression(self, term: _Term) -> _Term:
        if term.is_predicate:
            _wrong(term.at, "a value was expected, not a condition")
        return term

    def _advance(self) -> None:
        self._token = next(self._rest)

    def _take(self, value: str) -> bool:
        if self._token.kind not in ("keyword", "symbol") or self._token.value != value:
            return False
        self._advance()
        return True

    def _need(self, value: str) -> None:
        if not self._take(value):
            self._unexpected(repr(value))

    def _unexpected(self, expected: str) -> NoReturn:
        found = "the end" if self._token.kind == "end" else repr(self._token.value)
        _wrong(self._token.at, f"{expected} was expected, not {found}")


# Evaluating: None is UNKNOWN, and also NULL, which no comparison tells apart

_CONSTANTS: Final = {"TRUE": True, "FALSE": False, "NULL": None}
_COMPARISONS: Final[Mapping[str, tuple[Callable[[Value, Value], bool], bool]]] = {
    "=": (operator.eq, False),
    "<>": (operator.ne, False),
    "!=": (operator.ne, False),
    "<": (operator.lt, True),
    "<=": (operator.le, True),
    ">": (operator.gt, True),
    ">=": (operator.ge, True),
}


def _all(truths: Iterable[Truth]) -> Truth:
    known: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            known = None
    return known


def _any(truths: Iterable[Truth]) -> Truth:
    known: Truth = False
    for truth in truths:
        if truth:
            return True
        if truth is None:
            known = None
    return known


def _negated(run: Callable[[Scope], Truth]) -> Callable[[Scope], Truth]:
    def negated(scope: Scope) -> Truth:
        truth = run(scope)
        return None if truth is None else not truth

    return negated


def _kind(value: Value) -> str | None:
    """Name the type of a value that can be compared."""
    match value:
        case bool():
            return "boolean"
        case timestamp():
            return "time"
        case decimal32() | decimal64() | decimal128():  # proton gives their bits, not their value
            return None
        case int() | float():
            return "number"
        case str():
            return "text"
        case UUID():
            return "id"
    return None


def _compare(left: Value, right: Value, compare: Callable[[Value, Value], bool], *, ordered: bool) -> Truth:
    """Compare values of one type as C# does: a long becomes a double where the other is one.

    Like there, texts, booleans and ids have no order; where C# finds no operator, the answer is UNKNOWN.
    """
    kind = _kind(left)
    if kind is None or kind != _kind(right) or (ordered and kind not in ("number", "time")):
        return None
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
    return compare(left, right)


def _calculate(symbol: str, left: Value, right: Value) -> Value:
    """Calculate as C# does; a result that is out of range, or none, is UNKNOWN."""
    if symbol == "+" and (_kind(left) == "text" or _kind(right) == "text"):
        first, second = as_text(left), as_text(right)
        if first is None or second is None or len(first) + len(second) > _MAX_VALUE_LENGTH:
            return None
        return first + second
    if not _kind(left) == _kind(right) == "number":
        return None
    if isinstance(left, float) or isinstance(right, float):
        return _calculate_doubles(symbol, float(left), float(right))
    value = _calculate_longs(symbol, int(left), int(right))
    return None if value is None or value not in _LONG else value


def _calculate_longs(symbol: str, left: int, right: int) -> int | None:
    match symbol:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if not right:
        return None
    quotient = abs(left) // abs(right)  # toward zero: Python's own goes down
    if (left < 0) is not (right < 0):
        quotient = -quotient
    return quotient if symbol == "/" else left - quotient * right


def _calculate_doubles(symbol: str, left: float, right: float) -> float:
    match symbol:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if symbol == "%":
        return math.nan if not right or math.isinf(left) else math.fmod(left, right)
    if right:
        return left / right
    return (
        math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    )


def _like(value: Value, pattern: Value, escape: Value) -> Truth:
    """Match the whole text, letter case included; `escape` is None where none was given."""
    if not _kind(value) == _kind(pattern) == "text":
        return None
    if escape is not None and (_kind(escape) != "text" or len(escape) != 1):
        return None
    wanted: list[str | None] = []  # characters; "" for any one, None for any number
    characters = iter(pattern)
    for char in characters:
        if char == escape:
            literal = next(characters, None)
            if literal is None:
                return None
            wanted.append(literal)
        else:
            wanted.append({"%": None, "_": ""}.get(char, char))
    return _matches(value, wanted)


def _matches(value: str, wanted: list[str | None]) -> bool:
    """Match without going back further than the last %, so that no pattern takes for ever."""
    at = index = 0
    after_any = retry_at = -1
    while at < len(value):
        if index < len(wanted) and wanted[index] is None:
            index += 1
            after_any, retry_at = index, at
        elif index < len(wanted) and wanted[index] in ("", value[at]):
            index += 1
            at += 1
        elif after_any >= 0:
            retry_at += 1
            index, at = after_any, retry_at
        else:
            return False
    return all(one is None for one in wanted[index:])
