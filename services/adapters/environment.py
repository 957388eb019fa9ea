"""Secrets from environment variables, for a laptop: `stripe-secret` is STRIPE_SECRET.

The variable with _PREVIOUS behind it holds the version that is being rotated out.
"""

from collections.abc import Mapping


def variable(name: str) -> str:
    """Name the environment variable that holds a secret."""
    return name.upper().replace("-", "_")


class EnvironmentSecrets:
    """Secrets in a mapping such as os.environ, read at each fetch."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def fetch(self, name: str) -> tuple[str, ...]:
        values = (self._environment.get(variable(name) + end, "") for end in ("", "_PREVIOUS"))
        return tuple(value for value in values if value)
