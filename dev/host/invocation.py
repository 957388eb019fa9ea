"""Calls one function as Microsoft's worker does, with the context it would get.

https://github.com/Azure/azure-functions-python-worker (azure_functions_runtime, handle_event.py and
bindings/context.py)
"""

import asyncio
import inspect
import re
import secrets
import threading
import uuid
from dataclasses import dataclass, field

from dev.host.index import Function

# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")

LOCAL = threading.local()


class InvocationFailed(Exception):
    """The function did what the worker counts as a failure without having raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """The trace that an invocation belongs to."""

    trace_parent: str
    trace_state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def continuing(cls, parent: str = "", state: str = "") -> "TraceContext":
        """Make a new span of the caller's trace; of a new, unsampled trace if `parent` is no traceparent."""
        caller = TRACEPARENT.fullmatch(parent)
        trace, flags = caller.groups() if caller else (secrets.token_hex(16), "00")
        return cls(
            trace_parent=f"00-{trace}-{secrets.token_hex(8)}-{flags}", trace_state=state if caller else ""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryContext:
    """What the worker gives where no retry policy applies."""

    retry_count: int = 0
    max_retry_count: int = 0
    exception: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The azure.functions.Context of one invocation."""

    function_name: str
    function_directory: str
    trace_context: TraceContext
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    retry_context: RetryContext = field(default_factory=RetryContext)
    thread_local_storage: threading.local = LOCAL


async def invoke(function: Function, argument: object, trace: TraceContext) -> object:
    """Call the function (in a thread if it is not async) and return what it returned.

    Raises what the function raised, or InvocationFailed if it returned a value that no binding takes.
    """
    context = Context(function_name=function.name, function_directory=function.directory, trace_context=trace)
    arguments = {function.parameter: argument}
    if function.takes_context:
        arguments["context"] = context
    try:
        answer: object
        if inspect.iscoroutinefunction(function.call):
            answer = await function.call(**arguments)
        else:
            answer = await asyncio.to_thread(function.call, **arguments)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise InvocationFailed("it let a CancelledError out") from None  # its own, and no request to stop
    if answer is not None and not function.returns:
        raise InvocationFailed("it returned a value and has no $return binding")
    return answer
