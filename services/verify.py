"""Says of a captured delivery whether it verifies, if not why, and what to do: the use case behind `verify`.

It checks as the app does, and reads, publishes and answers nothing. Nothing of a secret, of a body or of a
header's value is told. The network that a delivery came from is not looked at: a capture proves none.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from services.captures import Capture, read_capture
from services.errors import CallerError, HookbusError, NotVerified, OperatorError, Reason, Why
from services.models import Delivery
from services.providers.base import Completion, Provider
from services.receive import ReceiveWebhook
from services.refusals import Finding, Limits, plain_why
from services.signatures.catalogue import SCHEMES

AT_LEISURE = Limits(tries=10_000, longest=64 * 1024 * 1024, bytes=1024 * 1024 * 1024)

_EXACT = "Let nothing between the provider and this app touch the body: no proxy, gateway or framework."
# What is so, and what to do about it.
ADVICE: Mapping[Why, tuple[str, str]] = {
    Why.UNSIGNED: (
        "The request has no signature.",
        "Turn signing on at the provider, and see that no proxy drops the header. If the request is not the "
        "provider's, refusing it was right.",
    ),
    Why.MISSING_HEADER: (
        "A header is missing that the signature needs.",
        "See that no proxy drops it, and that the capture holds all headers.",
    ),
    Why.OTHER_SENDER: (
        "The request is signed as by another kind of sender, and nothing here can check that.",
        "Look up which address this sender is to call, and whether it is in PROVIDERS.",
    ),
    Why.OTHER_SCHEME: (
        "The secret fits, but the request is signed by another scheme.",
        "Set the provider's scheme to this one.",
    ),
    Why.OTHER_PROVIDER: (
        "The request is another provider's: its scheme and secret fit.",
        "Give that provider its own address, /api/webhooks/ and its name.",
    ),
    Why.OTHER_SECRET: (
        "The request is signed with another secret that is known here, and not with this provider's.",
        "Set the secret of this very endpoint: test mode, live mode and each endpoint have their own.",
    ),
    Why.WRONG_SECRET: (
        "The request is well formed, and no secret here fits it, whatever body or address it may have had.",
        "Copy the signing secret from the provider anew: test mode, live mode and each endpoint have theirs. "
        "If it is right, the body was changed beyond recognition, or somebody else sent it.",
    ),
    Why.SECRET_FORM: (
        "The secret is right, but the sender reads it in another way (as text, as base64, as hex).",
        "Choose the scheme that reads it so, or set the secret as the provider shows it.",
    ),
    Why.SIGNATURE_FORM: (
        "The secret is right, but the sender writes its signature in another way.",
        "Choose the scheme that writes it so.",
    ),
    Why.BODY_REWRITTEN: ("The body was read and written anew on its way.", _EXACT),
    Why.BODY_LINE_ENDS: (
        "Line ends or a byte order mark were changed on the way.",
        f"{_EXACT} If you wrote the capture with an editor, it may have added the line end: cut it off.",
    ),
    Why.BODY_RECODED: ("The body's character set was changed on the way.", _EXACT),
    Why.BODY_COMPRESSED: ("The body was compressed after it was signed.", _EXACT),
    Why.BODY_DECOMPRESSED: (
        "The body was sent compressed, and unpacked on its way: its signature covers what was sent.",
        _EXACT,
    ),
    Why.BODY_WRAPPED: ("The body was put into another text on its way.", _EXACT),
    Why.BODY_EMPTY: (
        "The body did not arrive.",
        "A body that is sent in chunks does not reach a function: have it sent with its Content-Length.",
    ),
    Why.BODY_ALTERED: ("The signature holds, but the body is not the one that it names.", _EXACT),
    Why.WRONG_URL: (
        "The signature covers the address, and the provider called another one than is expected here.",
        "Set PUBLIC_URL to what the provider calls, and give the provider the address just as it is.",
    ),
    Why.CLOCK_SKEW: (
        "The signature fits, but its time is too far from this clock's.",
        "If it was sent late or again, have the provider send it anew. If all are so, set a clock right.",
    ),
    Why.WRONG_ADDRESS: (
        "The address does not hold a token of ours for this provider that is still good.",
        "Give the provider the address that `python -m services address` prints, or start the job again.",
    ),
    Why.WRONG_SENDER: (
        "It came from a network that is not in the provider's SENDERS.",
        "Look up the provider's addresses, and FORWARDED_HOPS.",
    ),
    Why.HANDSHAKE: (
        "The provider asked whose address this is, and did not show what is set here.",
        "Set the same word at the provider and here, and have it ask again.",
    ),
    Why.NOT_TRIED: (
        "It was not looked into: too long, or one of too many.",
        "Try again with a captured one.",
    ),
    Why.NOTHING_FOUND: (
        "Nothing that could be tried fits.",
        "Compare the capture with the provider's documentation of its signature.",
    ),
}
# What `detail` says where it is not the name of something.
_DETAILS: Mapping[str, str] = {
    "added": "something was added at its end",
    "trimmed": "its last line end was cut off",
    "to_crlf": "LF became CRLF",
    "to_lf": "CRLF became LF",
    "mark_added": "a byte order mark was added",
    "mark_removed": "its byte order mark was cut off",
    "json_text": "a JSON text",
    "form": "a form's fields were escaped or sorted anew",
    "scheme": "http and https differ",
    "slash": "a slash at the path's end",
    "port": "the port",
    "query": "the query",
    "path": "the path",
    "host": "the host",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be told of a captured delivery, line by line."""

    verified: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """The clock, stopped."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The use case behind `python -m services verify`."""

    receive: ReceiveWebhook
    public_url: str

    async def __call__(
        self,
        provider_name: str,
        document: bytes,
        *,
        at: datetime | None = None,
        url: str | None = None,
        more_secrets: Sequence[str] = (),
    ) -> Verdict:
        """Judge a captured delivery as if it came now, at its own time, or `at` one.

        `url` is what the provider called, where the capture does not say. `more_secrets` are names of secrets
        to try beside the provider's. Raises OperatorError for a file, provider or secret that is none.
        """
        provider = self.receive.providers.get(provider_name)
        if provider is None or provider.completion is not Completion.WEBHOOK:
            raise OperatorError(
                f"{provider_name} sends no webhooks here: it is not in PROVIDERS, or has none"
            )
        capture = read_capture(document, provider_name)
        moment = at or capture.received_at or self.receive.clock.now()
        path = capture.path or f"/api/webhooks/{provider_name}"
        delivery = Delivery(
            method=capture.method,
            url=url or self.public_url + path,
            headers=capture.headers,
            body=capture.body,
            received_at=moment,
        )
        await self._read_secrets()
        more = {name: await self.receive.secrets.valid(name) for name in more_secrets}
        receive = replace(self.receive, clock=_At(moment=moment))
        told = (
            f"{capture.form}, checked as of {moment:%Y-%m-%d %H:%M:%S%z}",
            *_notes(capture, delivery, provider, url),
        )
        token = path.partition("?")[0].partition(f"/api/webhooks/{provider_name}/")[2] or None
        try:
            await receive.check(provider, token, delivery, addressed=capture.path is not None)
        except CallerError as error:
            refused = f"NOT verified: refused before its signature is looked at ({error.status})"
            return Verdict(verified=False, lines=(*told, refused, f"why: {error.detail}"))
        except NotVerified as error:
            found = plain_why(error, delivery) or receive.find_why(
                provider, delivery, error, limits=AT_LEISURE, schemes=SCHEMES, more_secrets=more
            )
            return Verdict(verified=False, lines=(*told, *_explain(error.reason, found)))
        return Verdict(verified=True, lines=(*told, "verified"))

    async def _read_secrets(self) -> None:
        """Have all providers' secrets at hand; one that is missing is told of when it is needed."""
        for one in self.receive.providers.values():
            if one.signing_secret:
                with suppress(HookbusError):
                    await self.receive.secrets.valid(one.signing_secret)


def _explain(reason: Reason, found: Finding) -> tuple[str, ...]:
    meaning, advice = ADVICE[found.why]
    detail = _DETAILS.get(found.detail, found.detail)
    if found.why is Why.CLOCK_SKEW:
        seconds = int(found.detail)
        detail = f"{abs(seconds)} s in the {'past' if seconds > 0 else 'future'}"
    elif found.why in (Why.BODY_REWRITTEN, Why.BODY_RECODED) and detail:
        detail = f"it was signed as: {detail.replace('_', ' ')}"
    return (
        "NOT verified",
        f"reason: {reason}",
        f"why: {found.why}{f' ({detail})' if detail else ''}. {meaning}",
        f"to do: {advice}",
    )


def _notes(capture: Capture, delivery: Delivery, provider: Provider, url: str | None) -> tuple[str, ...]:
    """Say what a capture may have lost."""
    notes = []
    length = capture.headers.get("content-length", "")
    if length.isdecimal() and length != str(len(capture.body)):
        notes.append(
            f"note: the capture has {len(capture.body)} bytes, and its Content-Length says another number: "
            "it does not hold the exact body, and no signature over it can fit"
        )
    if capture.path is None and not url:
        notes.append(
            "note: a delivery is kept without its address, so its token is not checked; "
            "if the signature covers the address, give it with --url"
        )
    if capture.path is None and provider.scheme and provider.scheme.lacks(delivery):
        notes.append(
            "note: a kept delivery has no Authorization, and no header that shows a secret: where this "
            "provider's signature lies in one, no kept delivery verifies"
        )
    return tuple(notes)
