"""Every sender of the vectors, by the kind of their signatures and by who judges them."""

from tests.vectors.drafts import Sender
from tests.vectors.senders.bodies import IN_BODIES, TWILIO
from tests.vectors.senders.documented import DOCUMENTED
from tests.vectors.senders.keys import KEYS
from tests.vectors.senders.libraries import LIBRARIES
from tests.vectors.senders.node import NODE
from tests.vectors.senders.others import OTHERS
from tests.vectors.senders.tokens import TOKENS

SENDERS: list[Sender] = [*LIBRARIES, *DOCUMENTED, *KEYS, *TOKENS, *TWILIO, *IN_BODIES, *OTHERS, *NODE]
