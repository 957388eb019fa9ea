"""The function takes fewer parameters than its decorator names."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def bad() -> None: ...
