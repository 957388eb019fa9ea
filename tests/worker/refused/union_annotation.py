"""X | None is no type that the worker takes."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def bad(timer: func.TimerRequest | None) -> None: ...
