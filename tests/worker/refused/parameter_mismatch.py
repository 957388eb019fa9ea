"""The decorator names a parameter that the function does not have."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def bad(clock: func.TimerRequest) -> None: ...
