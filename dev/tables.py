"""What docs/providers.md says of the built-in providers and of the schemes, read from the code."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from services.handshakes import HANDSHAKES
from services.lifecycle import POLL_AFTER, POLL_EVERY
from services.providers import BUILT_IN, built_in
from services.providers.base import CallbackAddress, Completion, Operation, Provider
from services.receive import needs_token
from services.signatures import catalogue, public_catalogue
from services.signatures.catalogue import SCHEMES
from services.signatures.certificates import PayPalTransmissions, SnsMessages
from services.signatures.forms import Braintree
from services.signatures.hmacs import Hmac
from services.signatures.jwts import Jwt
from services.signatures.keyed import Keyed
from services.signatures.public_keys import KeyKind, PublicKeys
from services.signatures.scheme import Scheme
from services.signatures.statics import BasicToken, BodyToken, HeaderToken
from services.signatures.twilio import Twilio

DOCUMENT = """\
# Providers and schemes

This page is made from the code: `python -m dev providers > docs/providers.md`. A test holds it equal.

## Providers

Each is a file in `services/providers/`; [this is how to add one](adding-a-provider.md). Any other API that
sends callbacks needs no file: [the README](../README.md#providers) has the settings that describe it.

- **Callbacks go to** an address that goes along with each job's start, or to one for the account, which you
  set up once: `python -m services address NAME` prints it. *With our token*: the address is a part of the
  proof, so keep it to yourself.
- **A job is found by** its address, by our id that goes along and comes back, or by the provider's own id.
- **Start repeated**: whether a start whose answer was lost is sent again, because the provider acts once for
  one job.
- **Asked about**: how long after its start a job is asked about, and the longest time until it is asked about
  again, while no callback comes.
- **Waits**, **repeats**, **in order**: how long the provider waits for our answer, for how long it sends a
  callback again, and whether it promises to send callbacks in their order.

{providers}

## Schemes

What `PROVIDER_NAME__SCHEME` takes. **Signs** is what the signature covers, **age** how old a delivery may be
and, behind the slash, how far ahead of our clock. Where the **token** is needed, a right signature proves too
little, and our token has to be in the address. A **handshake** is answered without your doing.

{schemes}
"""
NONE = "-"
NOT_SAID = "not said"
KINDS = {KeyKind.ED25519: "Ed25519", KeyKind.P256: "ECDSA, P-256"}
_UNITS = (("h", 3600), ("min", 60), ("s", 1))
_ADDRESS = re.compile(r"# .*?(https://\S+?)[:;,.]?(?: |$)")
_ENTRY = re.compile(r'(?P<constant>[A-Z_]+) = |    "(?P<name>\w+)": (?:(?P<value>[A-Z_]+),)?')
_NAMES_JOB = re.compile(r"^ +job_id=", re.MULTILINE)  # as an argument of the Callback that `read` makes
_FIELD = re.compile(r"%\(([\w-]+)\)b")


def document() -> str:
    """Write the page."""
    return DOCUMENT.format(providers=providers_table(), schemes=schemes_table())


def providers_table() -> str:
    """Write a line for each built-in provider."""
    heads = ("Provider", "Operations", "Ends by", "Scheme", "Callbacks go to", "A job is found by")
    more = ("Start repeated", "Asked about", "Canceled there", "Waits", "Repeats", "In order", "")
    return _table((*heads, *more), (_provider_line(built_in(name)) for name in BUILT_IN))


def _provider_line(provider: Provider) -> Sequence[str]:
    calls_back = provider.completion is Completion.WEBHOOK
    return (
        f"`{provider.name}`",
        ", ".join(f"`{name}`" for name in provider.operations),
        {Completion.IMMEDIATE: "the answer"}.get(provider.completion, str(provider.completion)),
        f"`{_scheme_name(provider)}`" if provider.scheme else NONE,
        _callback_address(provider) if calls_back else NONE,
        _found_by(provider) if calls_back else NONE,
        _each(provider, lambda one: "yes" if one.idempotent else "no"),
        _each(provider, _polled),
        _each(provider, lambda one: "yes" if one.cancel else "no"),
        _fact(provider.patience) if calls_back else NONE,
        _fact(provider.repeats_for) if calls_back else NONE,
        ("yes" if provider.ordered else "no") if calls_back else NONE,
        _link(provider.documentation),
    )


def _scheme_name(provider: Provider) -> str:
    names = [name for name, scheme in SCHEMES.items() if scheme is provider.scheme]
    return provider.name if provider.name in names else names[0]


def _callback_address(provider: Provider) -> str:
    per_job = provider.callback_address is CallbackAddress.PER_JOB
    needed = ", with our token" if needs_token(provider) else ""
    return "one a job, with our token" if per_job else f"one for the account{needed}"


def _found_by(provider: Provider) -> str:
    if provider.callback_address is CallbackAddress.PER_JOB:
        return "its address"
    source = inspect.getsource(sys.modules[f"services.providers.{provider.name}"])
    return "our id" if _NAMES_JOB.search(source) else "their id"


def _each(provider: Provider, told: Callable[[Operation], str]) -> str:
    """Say it once where all operations have it in common, else for each."""
    said = {name: told(operation) for name, operation in provider.operations.items()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"`{name}` {text}" for name, text in said.items())


def _polled(operation: Operation) -> str:
    if operation.poll is None:
        return "no"
    first, every = operation.poll_after or POLL_AFTER, operation.poll_every or POLL_EVERY
    lost = "; found by our id if the start's answer is lost" if operation.find else ""
    return f"after {_span(first)}, then up to {_span(every)}{lost}"


def schemes_table() -> str:
    """Write a line for each scheme of the catalogue."""
    heads = ("Scheme", "Proof", "Header", "Signs", "Age", "Token", "Handshake", "")
    addresses = scheme_addresses(inspect.getsource(catalogue) + inspect.getsource(public_catalogue))
    return _table(heads, (_scheme_line(name, one, addresses[name]) for name, one in sorted(SCHEMES.items())))


def _scheme_line(name: str, scheme: Scheme, address: str) -> Sequence[str]:
    proof, signs = _proof(scheme)
    header = getattr(scheme, "signature_header", None)
    handshake = HANDSHAKES.get(name)
    return (
        f"`{name}`",
        f"{proof}, key fetched" if scheme.key_source else proof,
        f"`{header}`" if header else NONE,
        signs,
        _age(scheme),
        "needed" if scheme.binds_nothing else NONE,
        ("hands over the secret" if handshake.hands_over else "yes") if handshake else NONE,
        _link(address),
    )


def _proof(scheme: Scheme) -> tuple[str, str]:
    match scheme:
        case Hmac():
            kind = _digest(scheme.digest) if scheme.keyless else f"HMAC, {_digest(scheme.digest)}"
            return kind, _template(scheme.template)
        case PublicKeys():
            return KINDS[scheme.kind], _template(scheme.template)
        case Jwt():
            url = " and the address" if scheme.url_claim else ""
            return f"JWT, {' or '.join(scheme.algorithms)}", f"the body's hash{url}"
        case Twilio():
            signed = "the body's hash" if scheme.hashed else "the form's fields"
            return f"HMAC, {_digest(scheme.digest)}", f"the address and {signed}"
        case Braintree():
            return f"HMAC, {_digest(scheme.digest)}", "one field of the form"
        case Keyed():
            return f"HMAC, {_digest(scheme.digest)}", _promise(scheme)
        case HeaderToken() | BasicToken() | BodyToken():
            return "the secret itself", "nothing"
        case _:
            return "RSA, with a certificate", _promise(scheme)


def _digest(name: str) -> str:
    return name.upper().replace("SHA", "SHA-")


def _template(template: bytes) -> str:
    text = _FIELD.sub(r"{\1}", template.decode()).replace("\n", "\\n").replace("|", "\\|")
    return f"`{text}`"


def _promise(scheme: Scheme) -> str:
    """Return what a scheme's own first sentence says behind its colon."""
    first, *_ = (inspect.getdoc(type(scheme)) or "").splitlines()
    return first.partition(": ")[2].rstrip(".")


def _age(scheme: Scheme) -> str:
    match scheme:
        case Hmac():
            timed = scheme.timestamp_member is not None or b"%(timestamp)b" in scheme.template
        case Keyed():
            timed = "sent_at=" in inspect.getsource(type(scheme).find)
        case Jwt(past=timedelta.max):
            return "as the token says"
        case Jwt() | PublicKeys() | SnsMessages() | PayPalTransmissions():
            timed = True
        case _:
            timed = False
    return f"{_span(scheme.past)} / {_span(scheme.future)}" if timed else NONE  # type: ignore[attr-defined]


def scheme_addresses(source: str) -> dict[str, str]:
    """Find the documentation of each scheme: the address in the comment above it, or above what it names."""
    constants: dict[str, str] = {}
    found: dict[str, str] = {}
    address = own = ""
    for line in source.splitlines():
        if comment := _ADDRESS.search(line):
            address = own = comment[1]
        elif entry := _ENTRY.match(line):
            if entry["constant"]:
                constants[entry["constant"]] = address
            else:
                found[entry["name"]] = own or constants.get(entry["value"] or "", address)
            own = ""
    return found


def _fact(span: timedelta | None) -> str:
    if span is None:
        return NOT_SAID
    return _span(span) if span else "never"


def _span(span: timedelta) -> str:
    if span >= timedelta(days=2) and not span % timedelta(days=1):
        return f"{span.days} d"
    seconds = span.total_seconds()
    unit, size = next((one for one in _UNITS if seconds >= one[1] and seconds % one[1] == 0), _UNITS[-1])
    return f"{seconds / size:g} {unit}"


def _link(address: str) -> str:
    return f"[documentation]({address})"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
