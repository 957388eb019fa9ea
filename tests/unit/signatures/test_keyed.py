"""What holds for the samples of schemes that sign elsewhere than in one header, and of static tokens."""

import pytest

from services.models import Delivery
from services.signatures.catalogue import SCHEMES
from tests.unit.signatures.samples import NOW, SAMPLES, with_header

each_scheme = pytest.mark.parametrize("name", SAMPLES)


def resigned(name: str, secret: str) -> Delivery:
    return SCHEMES[name].sign(SAMPLES[name].delivery, secret, NOW)


@each_scheme
def test_what_the_official_library_signed_is_verified(name: str) -> None:
    SCHEMES[name].verify(SAMPLES[name].delivery, [SAMPLES[name].secret], NOW)


@each_scheme
def test_what_it_signs_it_verifies_and_may_sign_again(name: str) -> None:
    signed = resigned(name, SAMPLES[name].secret)
    again = SCHEMES[name].sign(signed, SAMPLES[name].secret, NOW)
    SCHEMES[name].verify(signed, [SAMPLES[name].secret], NOW)
    SCHEMES[name].verify(again, [SAMPLES[name].secret], NOW)


@each_scheme
def test_a_body_of_another_length_is_sent_with_its_own(name: str) -> None:
    long = with_header(SAMPLES[name].delivery, "content-length", "99999")
    signed = SCHEMES[name].sign(long, SAMPLES[name].secret, NOW)
    assert signed.headers["content-length"] in {"99999", str(len(signed.body))}
    assert (signed.headers["content-length"] == "99999") == (signed.body == long.body)
