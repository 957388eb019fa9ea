"""A module that is not installed."""

import there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401 - on purpose
