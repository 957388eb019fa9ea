"""Change services/signatures in one place at a time, and see a test fail each time.

    python -m tests.mutants.run [MODULE ...]

mutmut says what is changed to what. Its own runner changes functions only, and a scheme is mostly declared:
here regular expressions, defaults and the catalogues are changed as well, and each guard is deleted. A mutant
that no test notices must stand in survivors.toml with the reason. Exits with 1 if one does not, or if a line
there is out of date.

Left out, as nothing that a sender sees hangs on them: the texts of errors, annotations, decorators, how
members of an enumeration are spelled, and the capitals in a digest's or a codec's name. A default of None is
mypy's to refuse.
"""

import difflib
import gc
import importlib.abc
import importlib.util
import json
import os
import resource
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import libcst as cst
import pytest
from mutmut.mutation.mutators import mutation_operators, operator_assignment

from tests.unit.signatures.key_documents import rsa_key
from tests.vectors import cases

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SOURCES = ROOT / "services/signatures"
UNIT = "tests/unit/signatures"
SUITE = f"{UNIT}/test_every_scheme.py"
PROCESSES = 2
CPU_SECONDS = 300  # what never ends is noticed
MEMORY = 4 * 1024**3
OPTIONS = ("-qx", "-pno:cacheprovider", "-pno:anyio", "--assert=plain", "--tb=no", "--timeout=60")
# Imported once, before any mutant is: nothing here imports services.signatures.
WARM = (
    "_hypothesis_pytestplugin",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "cryptography.x509",
    "hypothesis.strategies",
    "jwt.algorithms",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "python_multipart.multipart",
    "rfc8785",
    "services.jsons",
    "standardwebhooks",
    "stripe",
)
SHARED = {"catalogue", "forms", "keyed", "parts", "public_catalogue", "public_keys", "scheme"}
FORMS = (
    "stripe or persona or polar or svix or slack or shopify or hubspot or box or linear or pusher or sanity"
)
ONE_BY_ONE = "not hostile and not garbage and not address and not nothing_is_verified_by_it"
# What of the security suite a module's mutants go through: all of it would take a day.
SCHEMES = {
    "bodies": "mailgun or adyen_payments",
    "canonical": "inngest or contentful",
    "catalogue": ONE_BY_ONE,
    "certificates": "aws_sns or paypal",
    "forms": "dropbox_sign or braintree or transloadit or twilio",
    "hmacs": f"{FORMS} or sanity",
    "jwts": "plaid or vonage or qstash or livekit or messagebird",
    "keyed": "mailgun or braintree or inngest",
    "parts": f"{FORMS} or fal or qstash or mailgun or contentful",
    "public_catalogue": ONE_BY_ONE,
    "public_keys": "discord or telnyx or fal or sendgrid or paypal or plaid",
    "scheme": "stripe or github",
    "statics": "gitlab_token or deepgram_basic or msgraph",
    "twilio": "twilio",
}
UNCHANGED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
TEXTS = {"OperatorError", "ValueError"}
IN_ANY_CASE = {"ascii", "latin-1", "sha1", "sha256", "sha384", "sha512"}

Change = tuple[str, str, str, str]  # module, where in it, lines before, lines after


def without_guard(node: cst.If) -> Iterator[cst.CSTNode]:
    yield node.with_changes(test=cst.Name("False"))


def without_filter(node: cst.CompIf) -> Iterator[cst.CSTNode]:
    yield node.with_changes(test=cst.Name("True"))


def without_call(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def without_a_side(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    for side in (node.left, node.right):
        yield side.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


OPERATORS: list[tuple[type, Callable[..., Iterator[cst.CSTNode]]]] = [
    *(one for one in mutation_operators if one != (cst.AnnAssign, operator_assignment)),
    (cst.If, without_guard),
    (cst.CompIf, without_filter),
    (cst.Expr, without_call),
    (cst.BooleanOperation, without_a_side),
]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One node of a module, and what stands in its place."""

    module: str
    where: str
    tree: cst.Module
    old: cst.CSTNode
    new: cst.CSTNode

    def code(self) -> str:
        return str(getattr(self.tree.deep_replace(self.old, self.new), "code"))  # noqa: B009 - or it is no module

    def change(self) -> Change:
        lines = list(difflib.ndiff(self.tree.code.splitlines(), self.code().splitlines()))
        old, new = (" ".join(line[2:].strip() for line in lines if line[:2] == sign) for sign in ("- ", "+ "))
        return self.module, self.where, old, new


def source(module: str) -> str:
    return (SOURCES / f"{module}.py").read_text()


def mutants_of(module: str) -> Iterator[Mutant]:
    tree = cst.parse_module(source(module))
    for where, old in nodes(tree, ""):
        for kind, operator in OPERATORS:
            for new in operator(old) if isinstance(old, kind) else ():
                if not is_same(old, new):
                    yield Mutant(module=module, where=where, tree=tree, old=old, new=new)


def nodes(node: cst.CSTNode, where: str) -> Iterator[tuple[str, cst.CSTNode]]:
    """Walk through what may be changed."""
    if isinstance(node, UNCHANGED) or is_enumeration(node) or is_text(node):
        return
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        where = f"{where}.{node.name.value}".lstrip(".")
    yield where, node
    for child in node.children:
        yield from nodes(child, where)


def is_enumeration(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.ClassDef) and any(
        isinstance(base.value, cst.Name) and base.value.value == "StrEnum" for base in node.bases
    )


def is_text(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in TEXTS


def is_same(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    if not isinstance(old, cst.SimpleString) or not isinstance(new, cst.SimpleString):
        return False
    return old.raw_value in IN_ANY_CASE and old.value.lower() == new.value.lower()


@dataclass(frozen=True)
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has the mutant imported in its module's place."""

    name: str
    path: str
    code: str

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.code, self.path, "exec"), module.__dict__)  # noqa: S102 - our own code, changed by us


def vectors_hold() -> bool:
    """Tell whether each vector gets its verdict; without pytest this is soon known."""
    vectors = import_module("tests.vectors.test_signature_vectors")
    for case in vectors.CASES:
        vectors.test_each_vector_gets_its_verdict(*case.values)
    return True


def suites(module: str) -> Iterator[Sequence[str]]:
    """List the tests, the likeliest first."""
    own = f"{UNIT}/test_{module}.py"
    if (ROOT / own).exists():
        yield (own,)
    all_others = (UNIT, f"--ignore={SUITE}", f"--ignore={own}")
    others = all_others if module in SHARED else (f"{UNIT}/test_keyed.py", f"{UNIT}/test_public_keys.py")
    yield (*others, "tests/vectors/test_both_ways.py")
    yield (SUITE, "-k", SCHEMES[module])


def survives(module: str, code: str) -> bool:
    sys.meta_path.insert(0, Finder(f"services.signatures.{module}", str(SOURCES / f"{module}.py"), code))
    return vectors_hold() and all(
        pytest.main([*OPTIONS, *suite]) == pytest.ExitCode.OK for suite in suites(module)
    )


def start(job: Callable[[], bool]) -> int:
    """Run a job in a process of its own, unheard, that exits with 0 if the job returns true."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        gc.disable()
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        unheard = os.open(os.devnull, os.O_WRONLY)
        os.dup2(unheard, 1)
        os.dup2(unheard, 2)
        status = 0 if job() else 1
    finally:
        os._exit(status)


def survivors(mutants: Sequence[Mutant]) -> Iterator[Mutant]:
    running: dict[int, Mutant] = {}
    waiting = list(reversed(mutants))
    while running or waiting:
        while waiting and len(running) < PROCESSES:
            mutant = waiting.pop()
            running[start(partial(lambda one: survives(one.module, one.code()), mutant))] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if status == 0:
            yield mutant


def warm_up() -> None:
    """Do once what would take each mutant's time."""
    os.chdir(ROOT)
    os.environ["CI"] = "true"  # the same examples each time
    for name in WARM:
        import_module(name)
    cases.read_cases = cache(cases.read_cases)
    for scheme in cases.schemes():
        cases.read_cases(scheme)
    rsa_key(0), rsa_key(1), rsa_key(), rsa_key(bits=1024)
    assert not any(name.startswith("services.signatures") for name in sys.modules)
    gc.freeze()


def explained() -> Counter[Change]:
    lines = tomllib.loads((HERE / "survivors.toml").read_text())["survivors"]
    assert all(line[4] for line in lines), "each survivor has a reason"
    return Counter(tuple(line[:4]) for line in lines)


def main(modules: Sequence[str]) -> int:
    warm_up()
    known, failed = explained(), False
    for module in modules:
        began = time.monotonic()
        unchanged = start(partial(survives, module, source(module)))
        assert os.waitpid(unchanged, 0)[1] == 0, f"{module}: a test fails without any mutant"
        mutants, survived = list(mutants_of(module)), 0
        listed = Counter({change: count for change, count in known.items() if change[0] == module})
        for survivor in survivors(mutants):
            survived += 1
            change = survivor.change()
            if listed[change]:
                listed[change] -= 1
            else:
                failed = True
                print("survived:", json.dumps(change), flush=True)
        for change in listed.elements():
            failed = True
            print("listed, but killed or gone:", json.dumps(change))
        seconds = time.monotonic() - began
        print(f"{module}: {len(mutants) - survived} killed, {survived} survived, {seconds:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or sorted(SCHEMES)))
