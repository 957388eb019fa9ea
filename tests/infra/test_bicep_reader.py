"""What the small reader of Bicep takes, and that it refuses what it does not know rather than skip it."""

from pathlib import Path

import pytest

from tests.infra import bicep
from tests.infra.bicep import Expression, Loop, Value


def read(folder: Path, text: str) -> bicep.Template:
    path = folder / "one.bicep"
    path.write_text(text)
    return bicep.read(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it\\'s'", "it's"),
        ("'''\none\n'two'\n'''", "one\n'two'\n"),
        ("-7", -7),
        ("true", True),
        ("null", None),
        ("[ 1, 2 ]", [1, 2]),
        ("[\n  'a' // first\n  'b'\n]", ["a", "b"]),
        ("{ a: { b: [{ c: 'd' }] }, 'e.f': 1 }", {"a": {"b": [{"c": "d"}]}, "e.f": 1}),
        ("{\n  // why\n  a: b.c\n}", {"a": Expression("b.c")}),
        ("'a-${b}'", Expression("'a-${b}'")),
        ("empty(a) ? [] : [b.id]", Expression("empty(a)?[]:[b.id]")),
        ("[for one in two: { name: one.key }]", Loop("one", "two", {"name": Expression("one.key")})),
        ("[for (one, at) in two: one]", Loop("(one,at)", "two", Expression("one"))),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_value_is_read(tmp_path: Path, text: str, value: Value) -> None:
    assert read(tmp_path, f"var it = {text}\n").vars["it"].value == value


def test_declarations_are_read_with_their_decorators_types_and_conditions(tmp_path: Path) -> None:
    template = read(
        tmp_path,
        "@minValue(1)\n@description('How many.')\nparam many int = 2\nparam tags object\n"
        "resource it 'Microsoft.X/ys@2024-01-01' = if (many > 1) {\n  name: 'y'\n}\n"
        "module other './other.bicep' = {\n  name: 'other'\n}\noutput id string = it.id\n",
    )
    many = template.params["many"]
    assert (many.kind, many.value, many.has_value) == ("int", 2, True)
    assert many.decorators == {"minValue": [1], "description": ["How many."]}
    assert template.params["tags"].has_value is False
    assert template.resources["it"].kind == "Microsoft.X/ys@2024-01-01"
    assert template.resources["it"].value == {"name": "y"}
    assert template.modules["other"].kind == "./other.bicep"
    assert template.outputs["id"].value == Expression("it.id")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type mine = string\n", "one.bicep:1: a declaration is expected"),
        ("var a = 1\nvar a = 2\n", "var a is declared twice"),
        ("var a = { b: 1, b: 2 }\n", "b stands twice"),
        ("\nvar a = {\n  b: 1\n", "the file ends too early"),
        ("var a = { resource b }\n", ": is expected"),
    ],
    ids=["unknown keyword", "declared twice", "twice in an object", "open brace", "nested resource"],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SyntaxError, match=reason):
        read(tmp_path, text)
