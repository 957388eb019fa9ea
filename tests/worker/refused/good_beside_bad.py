"""One bad function loses the good one too."""

import azure.functions as func

app = func.FunctionApp()


@app.route("good")
async def good(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def bad(clock: func.TimerRequest) -> None: ...
