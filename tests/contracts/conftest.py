"""The real things behind the adapters: each is started when a test first needs it."""

from collections.abc import Iterator

import pytest

from dev import azurite


@pytest.fixture(scope="session")
def storage() -> Iterator[azurite.Running]:
    """One Azurite for all tests that do not stop it. Where it cannot start, they fail."""
    with azurite.start() as running:
        yield running
