"""Finds out why a delivery was refused, by trying what would have verified it; and counts refusals.

Nothing here accepts a delivery: what fits says what to mend. It asks no vault and no sender for anything, so
that a stranger's delivery costs a bounded bit of computing and no more: so many tries, so many bytes in all,
so many deliveries a minute and provider. It is done before the answer, since a function has no "afterwards"
that can be counted on. The answer is the same whatever is found, and how long it takes tells a sender nothing
that it did not know: only who holds a secret can make anything fit.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, cast

from services.alterations import called_urls, sent_bodies, was_unpacked
from services.errors import NotVerified, OperatorError, Reason, Why
from services.models import Delivery
from services.signatures.catalogue import HMACS, KEYED, STATICS
from services.signatures.hmacs import Bare
from services.signatures.parts import Encoding, KeyForm
from services.signatures.scheme import Scheme

IN_A_ROW = 20
A_MINUTE = 10
_MINUTE = timedelta(minutes=1)
# Without those of public keys: a refusal is not what `cryptography` is imported for.
SHARED_SECRETS: Mapping[str, Scheme] = {**HMACS, **KEYED, **STATICS}
_PREFIXES = ("", "sha256=", "sha1=", "v0=", "v1=")
_DIGESTS = ("sha256", "sha1", "sha512")
_TOO_FAR = frozenset({Reason.TOO_OLD, Reason.TOO_NEW})
_OF_THE_ADDRESS = frozenset({Reason.NO_TOKEN, Reason.WRONG_TOKEN, Reason.EXPIRED_TOKEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be spent on one delivery: tries, bytes of its body, and bytes of bodies over all tries."""

    tries: int
    longest: int
    bytes: int


ON_THE_WAY = Limits(tries=128, longest=64 * 1024, bytes=512 * 1024)
"""While a sender waits for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a delivery was refused.

    `detail` is a word of ours (what was changed), the name of a scheme, header, provider or secret, or
    seconds: nothing that a sender wrote.
    """

    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What deliveries can be tried with: the provider's own scheme, secrets and keys, and others by name.

    `others` are other providers' schemes and secrets, `more_secrets` further ones to try by the own scheme.
    """

    scheme: Scheme | None
    secrets: Sequence[str] = field(default=(), repr=False)
    keys: Sequence[bytes] = ()
    others: Mapping[str, tuple[Scheme, Sequence[str]]] = field(default_factory=dict, repr=False)
    more_secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    schemes: Mapping[str, Scheme] = field(default_factory=lambda: SHARED_SECRETS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """One thing to try, and what it says if it fits."""

    why: Why
    detail: str
    scheme: Scheme
    delivery: Delivery
    secrets: Sequence[str] = field(repr=False)
    keys: Sequence[bytes] = ()

    def fits(self, now: datetime) -> bool:
        try:
            self.scheme.verify(self.delivery, self.secrets, now, self.keys)
        except NotVerified as error:
            return error.reason in _TOO_FAR  # said only of what was truly signed
        except OperatorError:
            return False
        return True


@dataclass(slots=True, kw_only=True)
class Refusals:
    """What this process knows of the deliveries that it refused."""

    _in_a_row: dict[str, int] = field(default_factory=dict)
    _looked_at: dict[str, deque[datetime]] = field(default_factory=dict)

    def count(self, provider: str) -> int:
        """Count a refusal; returns how many there were in a row if that is to be told now, else 0."""
        count = self._in_a_row[provider] = self._in_a_row.get(provider, 0) + 1
        return 0 if count % IN_A_ROW else count

    def end(self, provider: str) -> None:
        """Note that a delivery was verified."""
        self._in_a_row.pop(provider, None)

    def may_look(self, provider: str, now: datetime) -> bool:
        """Tell whether one more delivery may be looked into this minute, and count it."""
        looked_at = self._looked_at.setdefault(provider, deque())
        while looked_at and now - looked_at[0] >= _MINUTE:
            looked_at.popleft()
        if len(looked_at) >= A_MINUTE:
            return False
        looked_at.append(now)
        return True


def plain_why(refused: NotVerified, delivery: Delivery) -> Finding | None:
    """Say why a delivery was refused where nothing has to be tried for it."""
    if refused.reason is Reason.WRONG_SENDER:
        return Finding(why=Why.WRONG_SENDER)
    if delivery.method != "POST":
        return Finding(why=Why.HANDSHAKE)
    if refused.reason in _OF_THE_ADDRESS:
        return Finding(why=Why.WRONG_ADDRESS)
    if refused.age is not None:
        return Finding(why=Why.CLOCK_SKEW, detail=str(round(refused.age.total_seconds())))
    return None


def find_why(
    refused: NotVerified, delivery: Delivery, known: Known, now: datetime, limits: Limits = ON_THE_WAY
) -> Finding:
    """Find out by trying why a delivery was refused; NOTHING_FOUND where the limits ended the search."""
    scheme = known.scheme
    if scheme is None or len(delivery.body) > limits.longest:
        return Finding(why=Why.NOT_TRIED)
    tries, left = 0, limits.bytes
    for one in _tries(delivery, scheme, known):
        tries, left = tries + 1, left - len(one.delivery.body)
        if tries > limits.tries or left < 0:
            return Finding(why=Why.NOTHING_FOUND)
        if one.fits(now):
            return Finding(why=one.why, detail=one.detail)
    return _evident(refused.reason, delivery, scheme, known)


def _tries(delivery: Delivery, scheme: Scheme, known: Known) -> Iterator[_Try]:
    whole = not scheme.lacks(delivery)
    as_it_came = _Try(
        why=Why.WRONG_SECRET,
        detail="",
        scheme=scheme,
        delivery=delivery,
        secrets=known.secrets,
        keys=known.keys,
    )
    if whole:
        for name, secrets in known.more_secrets.items():
            yield replace(as_it_came, why=Why.OTHER_SECRET, detail=name, secrets=secrets)
    for name, (other, secrets) in known.others.items():
        elsewhere = replace(as_it_came, detail=name, secrets=secrets)
        if not other.lacks(delivery):
            yield replace(elsewhere, why=Why.OTHER_PROVIDER, scheme=other)
        if whole:
            yield replace(elsewhere, why=Why.OTHER_SECRET)
    if whole:
        for guess in sent_bodies(delivery):
            yield replace(as_it_came, why=guess.why, detail=guess.detail, delivery=guess.delivery)
        for why, detail, other in _other_forms(scheme):
            yield replace(as_it_came, why=why, detail=detail, scheme=other)
        for guess in called_urls(delivery):
            yield replace(as_it_came, why=guess.why, detail=guess.detail, delivery=guess.delivery)
    for name, other in known.schemes.items():
        if not other.lacks(delivery):
            yield replace(as_it_came, why=Why.OTHER_SCHEME, detail=name, scheme=other)


def _evident(reason: Reason, delivery: Delivery, scheme: Scheme, known: Known) -> Finding:
    """Say what can be seen of a delivery that nothing fits."""
    lacks = scheme.lacks(delivery)
    if lacks and len(lacks) < len(_headers_of(scheme, delivery)):
        return Finding(why=Why.MISSING_HEADER, detail=lacks[0])
    if lacks or reason is Reason.NO_SIGNATURE:
        sender = next(_senders(delivery, scheme, known), None)
        if sender:
            return Finding(why=Why.OTHER_SENDER, detail=sender)
        return Finding(why=Why.UNSIGNED, detail=lacks[0] if lacks else "")
    if reason not in (Reason.WRONG_SIGNATURE, Reason.WRONG_BODY):
        return Finding(why=Why.NOTHING_FOUND)
    if was_unpacked(delivery):
        return Finding(why=Why.BODY_DECOMPRESSED)
    if not delivery.body:
        return Finding(why=Why.BODY_EMPTY)
    return Finding(why=Why.BODY_ALTERED if reason is Reason.WRONG_BODY else Why.WRONG_SECRET)


def _senders(delivery: Delivery, scheme: Scheme, known: Known) -> Iterator[str]:
    """Name those whose signature's headers are there; a token that is sent along tells of nobody."""
    others = {name: other for name, (other, _) in known.others.items()}
    for name, other in {**others, **known.schemes}.items():
        signs = bool(_headers_of(other, delivery)) and not other.binds_nothing
        if signs and other != scheme and not other.lacks(delivery):
            yield name


def _headers_of(scheme: Scheme, delivery: Delivery) -> Sequence[str]:
    return scheme.lacks(replace(delivery, headers={}))


def _other_forms(scheme: Scheme) -> Iterator[tuple[Why, str, Scheme]]:
    """Vary how a declared scheme writes its signatures, and reads its secrets."""
    declared = {one.name: getattr(scheme, one.name) for one in fields(cast("Any", scheme))}
    base64_like = declared.get("encoding") in (Encoding.BASE64, Encoding.BASE64_URL)
    changes: list[tuple[str, str, object]] = [
        ("encoding", "hex", Encoding.HEX) if base64_like else ("encoding", "base64", Encoding.BASE64),
        *(("key_form", form.value, form) for form in KeyForm),
        *(("digest", name, name) for name in _DIGESTS),
        *(("form", f"prefix {prefix}".strip(), Bare(prefix=prefix)) for prefix in _PREFIXES),
    ]
    for name, detail, value in changes:
        if name in declared:
            why = Why.SECRET_FORM if name == "key_form" else Why.SIGNATURE_FORM
            yield why, detail, replace(cast("Any", scheme), **{name: value})
