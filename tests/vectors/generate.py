"""Makes the vectors: python -m tests.vectors.generate [scheme…]; README.md says what it needs.

Each request is signed and changed as its draft says, and put before the scheme's judge. The generator stops
where a judge differs from the draft's verdict without a reason in the sender's `stricter` or `wider`, and
where a reason is no longer needed.
"""

import sys
from collections.abc import Sequence

from tests.vectors.cases import HERE, Case, read_cases, schemes, write_cases
from tests.vectors.drafts import Draft, Question, Sender, T, drafts_of
from tests.vectors.senders import SENDERS

README = HERE / "README.md"
TABLE = "| scheme | cases | judged by |\n|---|---|---|\n"


def make(sender: Sender) -> list[Case]:
    """Make a scheme's cases; raises SystemExit where a judge does not agree."""
    drafts = list(drafts_of(sender))
    questions = [_question(sender, draft) for draft in drafts]
    judges = [sender.judge, *([sender.second] if sender.second else [])]
    answers = list(zip(*(judge.accepts(questions) for judge in judges), strict=True))
    told = [
        "; ".join(
            f"{judge.name} {'accepts' if yes else 'refuses'} it"
            for judge, yes in zip(judges, each, strict=True)
        )
        for each in answers
    ]
    problems = [*_unknown(sender, drafts), *_differences(sender, drafts, answers, told)]
    if problems:
        raise SystemExit("\n".join(f"{sender.scheme}: {problem}" for problem in problems))
    return [
        Case(
            name=draft.name,
            method=question.request.method,
            url=question.request.url,
            headers=question.request.headers,
            body=question.request.body,
            secrets=question.secrets,
            keys=question.keys,
            now=question.now,
            verdict=draft.verdict,
            judged_by=judged_by,
            stricter=sender.stricter.get(draft.name, ""),
            wider=sender.wider.get(draft.name, ""),
        )
        for draft, question, judged_by in zip(drafts, questions, told, strict=True)
    ]


def _question(sender: Sender, draft: Draft) -> Question:
    return Question(
        request=draft.change(sender.sign(draft)),
        secrets=draft.given or [sender.secrets[place] for place in draft.secrets],
        keys=sender.keys if draft.keys is None else draft.keys,
        now=T,
    )


def _unknown(sender: Sender, drafts: Sequence[Draft]) -> list[str]:
    names = [draft.name for draft in drafts]
    told = {*sender.stricter, *sender.wider, *sender.verdicts} - set(names)
    twice = {name for name in names if names.count(name) > 1}
    return [f"no case is named {name}" for name in told] + [f"two cases are named {name}" for name in twice]


def _differences(
    sender: Sender, drafts: Sequence[Draft], answers: Sequence[Sequence[bool]], told: Sequence[str]
) -> list[str]:
    problems = []
    for draft, each, judged_by in zip(drafts, answers, told, strict=True):
        stricter = any(each) and draft.verdict != "verified"
        wider = not all(each) and draft.verdict == "verified"
        if stricter != (draft.name in sender.stricter) or wider != (draft.name in sender.wider):
            problems.append(f"{draft.name}: {judged_by}, we say {draft.verdict}")
    return problems


def write_table() -> None:
    """Tell in README.md how many cases each scheme has, and who judged them."""
    before = README.read_text().partition(TABLE)[0]
    rows = []
    for scheme in schemes():
        cases = read_cases(scheme)
        judges = [told.rsplit(" ", 2)[0] for told in cases[0].judged_by.split("; ")]
        rows.append(f"| {scheme} | {len(cases)} | {', '.join(judges)} |\n")
    README.write_text(before + TABLE + "".join(rows))


def main(asked: Sequence[str]) -> None:
    known = {sender.scheme: sender for sender in SENDERS}
    for scheme in asked or known:
        write_cases(scheme, make(known[scheme]))
    write_table()


if __name__ == "__main__":
    main(sys.argv[1:])
