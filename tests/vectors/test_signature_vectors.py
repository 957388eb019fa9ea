"""What the vendors' libraries and documentation say of signed requests, held against ours."""

import pytest

from services.errors import NotVerified
from services.signatures.catalogue import SCHEMES
from tests.vectors.cases import HERE, Case, read_cases, schemes

CASES = [
    pytest.param(scheme, case, id=f"{scheme}-{case.name}")
    for scheme in schemes()
    if scheme in SCHEMES
    for case in read_cases(scheme)
]
COUNTED = [
    (cells[1].strip(), int(cells[2]))
    for line in (HERE / "README.md").read_text().splitlines()
    if (cells := line.split("|")) and len(cells) == 5 and cells[2].strip().isdigit()
]


@pytest.mark.parametrize(("scheme", "case"), CASES)
def test_each_vector_gets_its_verdict(scheme: str, case: Case) -> None:
    verify = SCHEMES[scheme].verify
    if case.verdict == "verified":
        verify(case.delivery, case.secrets, case.at, case.keys)
    else:
        with pytest.raises(NotVerified) as refused:
            verify(case.delivery, case.secrets, case.at, case.keys)
        assert refused.value.reason == case.verdict


def test_each_scheme_has_vectors() -> None:
    assert schemes() == sorted(SCHEMES)


@pytest.mark.parametrize("scheme", schemes())
def test_each_scheme_has_requests_to_accept_and_to_refuse(scheme: str) -> None:
    verdicts = [case.verdict for case in read_cases(scheme)]
    assert len(verdicts) >= 10
    assert verdicts.count("verified") >= 3
    assert len(verdicts) - verdicts.count("verified") >= 3


def test_no_vector_is_lost() -> None:
    assert {scheme: len(read_cases(scheme)) for scheme in schemes()} == dict(COUNTED)
