"""The registry: which providers there are, and the enabled ones as the settings describe them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import cast

from pydantic import ValidationError

from services.errors import OperatorError
from services.models import is_name
from services.providers.base import Provider
from services.providers.options import BuiltInOptions, problems_in, setting

BUILT_IN = (
    "apify",
    "assemblyai",
    "cloudconvert",
    "deepgram",
    "docusign",
    "elevenlabs",
    "fal",
    "github",
    "mux",
    "onfido",
    "openai",
    "paypal",
    "plaid",
    "replicate",
    "sendgrid",
    "shopify",
    "square",
    "stripe",
    "transloadit",
    "twilio",
    "weather",
)
"""Each is a module beside this one, imported when it is enabled: a cold start pays for no other."""


def built_in(name: str) -> Provider:
    """Return a built-in provider as its file declares it."""
    return cast("Provider", import_module(f"services.providers.{name}").PROVIDER)


def providers(enabled: Sequence[str], options: Mapping[str, Mapping[str, str]]) -> Mapping[str, Provider]:
    """Return the enabled providers by name; any that is not built in is a `standard` one.

    `options` has, for each provider's name, its options by lower-case name: `PROVIDER_ACME__START_URL` is
    `{"acme": {"start_url": …}}`. Raises OperatorError with a line for each setting that is wrong.
    """
    found: dict[str, Provider] = {}
    problems: list[str] = []
    for name in dict.fromkeys(enabled):
        try:
            found[name] = _provider(name, options.get(name, {}))
        except OperatorError as error:
            problems.append(str(error))
    if problems:
        raise OperatorError("\n".join(problems))
    return found


def _provider(name: str, options: Mapping[str, str]) -> Provider:
    if not is_name(name):
        raise OperatorError(
            f"{name!r} cannot name a provider: a-z 0-9 _, a letter first, at most 32 characters"
        )
    if name in BUILT_IN:
        return _with_options(built_in(name), options)
    if "start_url" not in options:
        known = ", ".join(BUILT_IN)
        raise OperatorError(
            f"{setting(name, 'start_url')}: is missing, and {name} is not built in ({known} are)"
        )
    from services.providers import standard

    return standard.provider(name, options)


def _with_options(provider: Provider, options: Mapping[str, str]) -> Provider:
    problems: list[str] = []
    found = BuiltInOptions()
    try:
        found = BuiltInOptions.model_validate(dict(options))
    except ValidationError as error:
        problems = problems_in(provider.name, error, BuiltInOptions)
    if not (provider.api_url or options.get("api_url")):
        example = provider.api_url_example
        problems.append(f"{setting(provider.name, 'api_url')}: is missing: give an address like {example}")
    if problems:
        raise OperatorError("\n".join(problems))
    api_url = (found.api_url or provider.api_url).rstrip("/")
    return replace(provider, api_url=api_url, rate_limit=found.rate_limit, senders=found.senders)
