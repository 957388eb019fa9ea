"""Reads the Bicep that this project writes: declarations by name, and objects, arrays and strings as values.

What is no literal (a name, a call, a ternary, a string with `${...}`) stays text, as an `Expression`. Nested
resources, user types, spreads and lambdas are not read; whatever is not understood raises SyntaxError.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|//[^\n]*)|(?P<line>\n)|(?P<text>'''(?:.|\n)*?'''|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<number>-?\d+)|(?P<word>[A-Za-z_]\w*)|(?P<sign>==|!=|>=|<=|&&|\|\||\?\?|.)"""
)
_ESCAPE = re.compile(r"\\(.)")
_OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Expression:
    """What a value is computed from, as written, without blanks between its parts."""

    text: str


@dataclass(frozen=True, slots=True)
class Loop:
    """`[for item in over: body]`."""

    item: str
    over: str
    body: "Value"


Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | Expression | Loop | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A param, var, resource, module or output; `kind` is its type, or its module's address."""

    name: str
    kind: str = ""
    value: Value = None
    has_value: bool = False
    decorators: Mapping[str, list[Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A file: what it declares, by keyword and name."""

    params: dict[str, Declaration] = field(default_factory=dict)
    vars: dict[str, Declaration] = field(default_factory=dict)
    resources: dict[str, Declaration] = field(default_factory=dict)
    modules: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Declaration] = field(default_factory=dict)


def read(path: Path) -> Template:
    """Read a file; raises SyntaxError that names file and line."""
    return _Reader(path).template()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens = list(_tokens(path.read_text()))
        self.at = 0

    def template(self) -> Template:
        template = Template()
        decorators: dict[str, list[Value]] = {}
        while not self.is_done():
            if self.takes("\n"):
                continue
            if self.takes("@"):
                name = self.word()
                decorators[name] = self.arguments()
                continue
            keyword = self.word()
            if keyword == "targetScope":
                self.expects("=")
                self.value()
                continue
            if keyword not in ("param", "var", "resource", "module", "output"):
                raise self.error(f"a declaration is expected, not {keyword}")
            one = self.declaration(keyword, decorators)
            declared: dict[str, Declaration] = getattr(template, f"{keyword}s")
            if one.name in declared:
                raise self.error(f"{keyword} {one.name} is declared twice")
            declared[one.name] = one
            decorators = {}
        return template

    def declaration(self, keyword: str, decorators: Mapping[str, list[Value]]) -> Declaration:
        name, kind = self.word(), ""
        if keyword in ("param", "output"):
            kind = self.word()
        elif keyword in ("resource", "module"):
            kind = _string(self.next())
        if not self.takes("="):
            return Declaration(name=name, kind=kind, decorators=decorators)
        if keyword in ("resource", "module") and self.takes("if"):
            self.span()
        value = self.value()
        return Declaration(name=name, kind=kind, value=value, has_value=True, decorators=decorators)

    def value(self) -> Value:
        start = self.at
        if self.takes("{"):
            value: Value = self.members()
        elif self.takes("["):
            value = self.loop() if self.peek() == "for" else self.items("]")
        else:
            value = _literal(self.next())
            if self.tokens[start] in _OPENING:
                raise self.error("a value is expected")
        if self.peek() in ("\n", ",", "}", "]", ")", ""):
            return value
        self.at = start
        return Expression("".join(self.until_end()))

    def members(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while not self.takes("}"):
            if self.takes("\n") or self.takes(","):
                continue
            token = self.next()
            key = _string(token) if token.startswith("'") else token
            if key in found:
                raise self.error(f"{key} stands twice in one object")
            self.expects(":")
            found[key] = self.value()
        return found

    def items(self, end: str) -> list[Value]:
        found: list[Value] = []
        while not self.takes(end):
            if not (self.takes("\n") or self.takes(",")):
                found.append(self.value())
        return found

    def arguments(self) -> list[Value]:
        self.expects("(")
        return self.items(")")

    def loop(self) -> Loop:
        self.expects("for")
        item = "".join(self.span()) if self.peek() == "(" else self.word()
        self.expects("in")
        over = "".join(self.until_end(":"))
        self.expects(":")
        body = self.value()
        self.expects("]")
        return Loop(item, over, body)

    def span(self) -> list[str]:
        """Take what stands in brackets, with them."""
        opening = self.next()
        if opening not in _OPENING:
            raise self.error("a bracket is expected")
        taken = [opening]
        while self.peek() != _OPENING[opening]:
            taken += self.span() if self.peek() in _OPENING else [self.next()]
        return [*taken, self.next()]

    def until_end(self, *ends: str) -> Iterator[str]:
        """Take the rest of an expression: brackets whole, to the end of the line or of what it stands in."""
        while self.peek() not in ("\n", ",", "}", "]", ")", "", *ends):
            yield from self.span() if self.peek() in _OPENING else [self.next()]

    def is_done(self) -> bool:
        return self.at == len(self.tokens)

    def peek(self) -> str:
        return "" if self.is_done() else self.tokens[self.at]

    def next(self) -> str:
        if self.is_done():
            raise self.error("the file ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.at += 1
        return True

    def expects(self, token: str) -> None:
        if not self.takes(token):
            raise self.error(f"{token} is expected, not {self.peek()!r}")

    def word(self) -> str:
        token = self.next()
        if not token.isidentifier():
            raise self.error(f"a name is expected, not {token!r}")
        return token

    def error(self, message: str) -> SyntaxError:
        line = 1 + sum(token.count("\n") for token in self.tokens[: self.at])
        return SyntaxError(f"{self.path}:{line}: {message}")


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "blank":
            yield match.group()


def _string(token: str) -> str:
    if token.startswith("'''"):
        return token[3:-3].removeprefix("\n")
    if not token.startswith("'"):
        raise SyntaxError(f"a string is expected, not {token!r}")
    return _ESCAPE.sub(r"\1", token[1:-1])


def _literal(token: str) -> Value:
    if token.startswith("'''") or (token.startswith("'") and "${" not in token):
        return _string(token)
    if token in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token]
    return int(token) if token.lstrip("-").isdigit() else Expression(token)
