"""The context is of another type."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def bad(timer: func.TimerRequest, context: dict) -> None: ...  # type: ignore[type-arg]  # on purpose
