"""Optional[X] is no type that the worker takes."""

from typing import Optional

import azure.functions as func

app = func.FunctionApp()


@app.route("bad")
async def bad(req: Optional[func.HttpRequest]) -> func.HttpResponse:  # noqa: UP045 - the old form is what is tested
    return func.HttpResponse()
