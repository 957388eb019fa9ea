"""The registry: which providers there are, and the enabled ones as the settings describe them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import cast

from services.errors import OperatorError
from services.models import is_name
from services.providers.base import Provider
from services.providers.options import check_url, setting

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
        return _with_address(built_in(name), options)
    if "start_url" not in options:
        known = ", ".join(BUILT_IN)
        raise OperatorError(
            f"{setting(name, 'start_url')}: is missing, and {name} is not built in ({known} are)"
        )
    from services.providers import standard

    return standard.provider(name, options)


def _with_address(provider: Provider, options: Mapping[str, str]) -> Provider:
    problems = [
        f"{setting(provider.name, option)}: there is no such option; {provider.name} takes API_URL"
        for option in options
        if option != "api_url"
    ]
    given = options.get("api_url", provider.api_url)
    if not given:
        example = provider.api_url_example
        problems.append(f"{setting(provider.name, 'api_url')}: is missing: give an address like {example}")
        raise OperatorError("\n".join(problems))
    try:
        api_url = check_url(given).rstrip("/")
    except ValueError as error:
        problems.append(f"{setting(provider.name, 'api_url')}: {error}")
    if problems:
        raise OperatorError("\n".join(problems))
    return replace(provider, api_url=api_url)
