"""The one place where what an Azure SDK raises becomes Unavailable, in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from azure.core.exceptions import AzureError

from services.errors import Unavailable


@asynccontextmanager
async def reaching(part: str, budget: timedelta) -> AsyncIterator[None]:
    """Run SDK calls for at most `budget`, retries included; raises Unavailable, which names only the part."""
    try:
        async with asyncio.timeout(budget.total_seconds()):
            yield
    except (AzureError, OSError) as error:  # a TimeoutError is an OSError
        raise Unavailable(f"{part} cannot be reached") from error
