"""Every error that Hookbus raises on purpose, sorted by who must act.

HookbusError
├── CallerError               whoever called our API changes the request
├── NotVerified               the sender of a delivery signs it rightly
├── NotUnderstood             a verified delivery says nothing that we know: kept, never dropped
├── ProviderError             the third party
│   ├── NotSent               it did nothing: safe to send again
│   └── AnswerLost            it may have acted: not safe to send again
├── Unavailable               wait: a store, the bus or the vault is away for the moment
├── OperatorError             whoever runs this deployment sets something right
│   └── SecretMissing
├── PoisonMessage             a message on job-inbox that no retry can help
├── AlreadyExists             (between ports and use cases) a job with this id is there
└── VersionConflict           (between ports and use cases) somebody else saved first
"""

import traceback
from datetime import timedelta
from enum import StrEnum


class HookbusError(Exception):
    """Any error of ours."""


class CallerError(HookbusError):
    """The request cannot be served as it is; `problem` is its stable type, `status` its HTTP status.

    `allow` names the methods that would be.
    """

    def __init__(
        self,
        status: int,
        problem: str,
        detail: str,
        *,
        job_id: str | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = problem
        self.detail = detail
        self.job_id = job_id
        self.allow = allow


class Reason(StrEnum):
    """Why a delivery was refused: the closed list that is counted and logged, and never answered."""

    NO_SIGNATURE = "no_signature"
    MALFORMED_SIGNATURE = "malformed_signature"
    WRONG_SIGNATURE = "wrong_signature"
    NO_TIMESTAMP = "no_timestamp"
    MALFORMED_TIMESTAMP = "malformed_timestamp"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    UNKNOWN_KEY = "unknown_key"
    UNTRUSTED_KEY = "untrusted_key"
    WRONG_ALGORITHM = "wrong_algorithm"
    WRONG_BODY = "wrong_body"
    WRONG_SENDER = "wrong_sender"
    NO_TOKEN = "no_token"
    WRONG_TOKEN = "wrong_token"
    EXPIRED_TOKEN = "expired_token"


class Why(StrEnum):
    """What made a delivery be refused, as trying shows: the closed list that is logged beside the reason.

    A `BODY_…` names what has happened to the body on its way.
    """

    UNSIGNED = "unsigned"
    MISSING_HEADER = "missing_header"
    OTHER_SENDER = "other_sender"
    OTHER_SCHEME = "other_scheme"
    OTHER_PROVIDER = "other_provider"
    OTHER_SECRET = "other_secret"
    WRONG_SECRET = "wrong_secret"
    SECRET_FORM = "secret_form"
    SIGNATURE_FORM = "signature_form"
    BODY_REWRITTEN = "body_rewritten"
    BODY_LINE_ENDS = "body_line_ends"
    BODY_RECODED = "body_recoded"
    BODY_COMPRESSED = "body_compressed"
    BODY_DECOMPRESSED = "body_decompressed"
    BODY_WRAPPED = "body_wrapped"
    BODY_EMPTY = "body_empty"
    BODY_ALTERED = "body_altered"
    WRONG_URL = "wrong_url"
    CLOCK_SKEW = "clock_skew"
    WRONG_ADDRESS = "wrong_address"
    WRONG_SENDER = "wrong_sender"
    HANDSHAKE = "handshake"
    NOT_TRIED = "not_tried"
    NOTHING_FOUND = "nothing_found"


class NotVerified(HookbusError):
    """A delivery's signature, age or token does not hold.

    `age` says of one that is too old or too new how old that is; it is negative for a time yet to come.
    """

    def __init__(self, reason: Reason, *, age: timedelta | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.age = age


class NotUnderstood(HookbusError):
    """A verified delivery could not be read; the message says which part, never what it held."""


class ProviderError(HookbusError):
    """A call to a provider gave no answer."""


class NotSent(ProviderError):
    """The provider did nothing: no connection, no time to make one, no access token, or it says so itself.

    `retry_after` is how long the provider asked us to wait, if it did.
    """

    def __init__(self, *args: object, retry_after: timedelta | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class AnswerLost(ProviderError):
    """The request left and no whole answer came: the provider may have acted."""


class Unavailable(HookbusError):
    """A part that we depend on is away; `retry_after` is how long to wait at least."""

    def __init__(self, message: str, *, retry_after: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OperatorError(HookbusError):
    """The deployment is not set up rightly; the message names the setting."""


class SecretMissing(OperatorError):
    """A secret is absent or empty."""

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name} is missing or empty: set it in the vault or the environment")
        self.name = name


class PoisonMessage(HookbusError):
    """A message that can never be read."""


class AlreadyExists(HookbusError):
    """A job with this id is in the store."""


class VersionConflict(HookbusError):
    """The row was saved by somebody else since it was loaded."""


def stack_of(error: BaseException) -> str:
    """Say where an unexpected error came from, without its text, which may hold what a body held."""
    return "".join(traceback.format_tb(error.__traceback__))
