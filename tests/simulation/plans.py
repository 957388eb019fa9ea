"""What goes wrong in a run: chosen by its seed, over after a time."""

from dataclasses import dataclass
from random import Random

STORAGE = ("store", "payloads")
PARTS = ("bus", "vault", *STORAGE)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`fail`, `slow`, `crash` and `lost` are chances for each call; times are in seconds.

    `away` names parts that are away together for ten minutes, `sends` being the bus that delivers and takes
    nothing: what nobody can put back then becomes a dead letter. An instance's clock may be `skew` off, and
    run faster or slower by `drift`.
    """

    name: str
    fail: float = 0.0
    slow: float = 0.0
    crash: float = 0.0
    lost: float = 0.0
    away: tuple[str, ...] = ()
    skew: float = 2.0
    drift: float = 0.0


PLANS = (
    Plan(name="quiet"),
    Plan(name="rough", fail=0.08, slow=0.03, lost=0.1),
    Plan(name="crashes", crash=0.05, lost=0.02),
    Plan(name="bus away", away=("bus",), crash=0.005, fail=0.01),
    Plan(name="storage away", away=STORAGE, crash=0.005, fail=0.01),
    Plan(name="bus and storage away", away=("bus", *STORAGE), crash=0.01),
    Plan(name="vault away", away=("vault",), crash=0.01, fail=0.01),
    Plan(name="bus takes nothing", away=("sends", "store"), crash=0.005),
    Plan(name="clocks", skew=60.0, drift=0.002, fail=0.02, crash=0.01),
    Plan(name="everything", fail=0.05, slow=0.03, crash=0.03, lost=0.05, away=PARTS, skew=10.0),
)


def choose(random: Random) -> Plan:
    return random.choice(PLANS)
