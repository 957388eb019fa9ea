"""Senders judged by their own libraries on npm; judge.mjs asks those."""

from tests.vectors.drafts import Draft, Sender
from tests.vectors.judges import NodeLibrary
from tests.vectors.senders.documented import other_prefixes, renamed
from tests.vectors.senders.libraries import (
    AFTER_COMMAS,
    EMPTY,
    MARKED,
    NO_FUTURE_LIMIT,
    READS,
    SECRETS,
    SVIX,
    TIMESTAMP_AS_NUMBER,
    dotted,
    standard,
    stripe_like,
)
from tests.vectors.senders.macs import mac_sender

PARSED = {
    "a_timestamp_with_a_sign": TIMESTAMP_AS_NUMBER,
    "a_timestamp_with_a_fraction": TIMESTAMP_AS_NUMBER,
}

NODE: list[Sender] = [
    mac_sender(
        "github",
        NodeLibrary(package="@octokit/webhooks-methods", scheme="github"),
        secrets=SECRETS,
        header="X-Hub-Signature-256",
        each="sha256={digest}",
        more=(
            *other_prefixes("X-Hub-Signature-256"),
            Draft(
                name="only_the_older_header",
                verdict="no_signature",
                change=renamed("X-Hub-Signature-256", "X-Hub-Signature"),
            ),
        ),
        wider=EMPTY,
    ),
    mac_sender(
        "clerk",
        NodeLibrary(package="@clerk/backend", scheme="clerk"),
        secrets=MARKED,
        wider=READS,
        **standard(
            SVIX,
            stricter={
                **PARSED,
                "the_timestamp_header_twice": TIMESTAMP_AS_NUMBER,
                "the_signature_header_twice": "the library takes what lies between two commas",
            },
        ),
    ),
    mac_sender(
        "mux",
        NodeLibrary(package="@mux/mux-node", scheme="mux"),
        secrets=SECRETS,
        header="Mux-Signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        joint=",",
        timestamp_pair="t={ts},",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        more=stripe_like("Mux-Signature"),
        wider=AFTER_COMMAS,
        stricter={
            **NO_FUTURE_LIMIT,
            **PARSED,
            "the_signature_header_twice": "the library takes one of two timestamps",
        },
    ),
]
