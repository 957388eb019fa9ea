"""The rule for payload names, kept once: what passes is safe as a path, a blob name and a URL."""

import re

_NAME = re.compile(r"(?=.{1,512}\Z)[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", re.ASCII)


def require_payload_name(name: str) -> None:
    """Refuse with ValueError a name that PayloadStore does not allow."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(
            "a payload's name is 1 to 512 of A-Z a-z 0-9 . _ - in parts joined by single slashes, "
            "no part starting with a dot"
        )
