"""Matches paths to route templates as the Functions host does, with ASP.NET Core's first router.

https://learn.microsoft.com/aspnet/core/fundamentals/routing (route templates and constraints), and for the
order
https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.WebHost/WebScriptHostHttpRoutesManager.cs
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

PARAMETER = re.compile(r"\{(?P<all>\*{0,2})(?P<name>\w+)(?P<constraints>(?::\w+)*)(?P<optional>\??)\}")

CONSTRAINTS = {
    "int": re.compile(r"[+-]?\d{1,10}", re.ASCII),
    "long": re.compile(r"[+-]?\d{1,19}", re.ASCII),
    "alpha": re.compile(r"[a-z]*", re.ASCII | re.IGNORECASE),
    "bool": re.compile(r"true|false", re.IGNORECASE),
    "guid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
}


class TemplateError(ValueError):
    """The template has something that this host does not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    constraints: tuple[str, ...]
    optional: bool
    catch_all: bool

    def takes(self, value: str) -> bool:
        return all(CONSTRAINTS[name].fullmatch(value) for name in self.constraints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A route template, read once; literals match in any case."""

    segments: tuple[str | Parameter, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read a template such as jobs/{id:int}/{rest?}.

        Raises TemplateError for what this host does not read, and for what the host does not take.
        """
        parts = text.strip("/").split("/") if text.strip("/") else []
        segments = tuple(_segment(part, text) for part in parts)
        parameters = [one for one in segments if isinstance(one, Parameter)]
        if any((one.optional or one.catch_all) for one in segments[:-1] if isinstance(one, Parameter)):
            raise TemplateError(f"{text}: an optional or catch-all parameter must come last.")
        if len({one.name.lower() for one in parameters}) < len(parameters):
            raise TemplateError(f"{text}: a parameter comes twice.")
        return cls(segments=segments)

    def match(self, path: Sequence[str]) -> Mapping[str, str] | None:
        """Return the parameters that the path gives, or None if it does not match."""
        found: dict[str, str] = {}
        for position, segment in enumerate(self.segments):
            if isinstance(segment, str):
                if position >= len(path) or path[position].lower() != segment.lower():
                    return None
                continue
            value = "/".join(path[position:]) if segment.catch_all else "".join(path[position : position + 1])
            if not value:
                if position < len(path) or not (segment.optional or segment.catch_all):
                    return None
            elif segment.takes(value):
                found[segment.name] = value
            else:
                return None
        endless = (
            bool(self.segments) and isinstance(self.segments[-1], Parameter) and self.segments[-1].catch_all
        )
        return found if endless or len(path) <= len(self.segments) else None


def split_path(raw: str) -> Sequence[str]:
    """Return the decoded segments of a raw request path; a slash at its end does not count.

    An encoded slash stays encoded, and so do bytes that are no UTF-8, as Kestrel leaves them.
    """
    return [_decoded(part) for part in raw.removeprefix("/").removesuffix("/").split("/")]


def _decoded(segment: str) -> str:
    kept = re.sub("%2f", lambda match: "%25" + match[0][1:], segment, flags=re.IGNORECASE)
    try:
        return unquote_to_bytes(kept).decode()
    except UnicodeDecodeError:
        return segment


def _segment(part: str, template: str) -> str | Parameter:
    if not {"{", "}"} & set(part):
        return part
    match = PARAMETER.fullmatch(part)
    if match is None:
        raise TemplateError(f"{template}: this host does not read {part}.")
    constraints = tuple(match["constraints"].split(":")[1:])
    unknown = set(constraints) - CONSTRAINTS.keys()
    if unknown:
        raise TemplateError(
            f"{template}: this host does not know the constraint {', '.join(sorted(unknown))}."
        )
    return Parameter(
        name=match["name"],
        constraints=constraints,
        optional=bool(match["optional"]),
        catch_all=bool(match["all"]),
    )
