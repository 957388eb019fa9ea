"""How requests to providers are written."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from services.models import HttpRequest, JsonObject
from services.providers.base import Ask


def bearer(api_key: str) -> dict[str, str]:
    """Return the header that carries a token, https://www.rfc-editor.org/rfc/rfc6750#section-2.1."""
    return {"authorization": f"Bearer {api_key}"}


def basic(api_key: str) -> dict[str, str]:
    """Return the header that carries `USER:PASSWORD`, https://www.rfc-editor.org/rfc/rfc7617#section-2."""
    return {"authorization": f"Basic {base64.b64encode(api_key.encode()).decode()}"}


def json_request(method: str, url: str, body: JsonObject, headers: Mapping[str, str]) -> HttpRequest:
    """Write a request with a JSON body."""
    sent = {**headers, "content-type": "application/json"}
    return HttpRequest(method=method, url=url, headers=sent, body=json.dumps(body).encode())


def form_request(url: str, fields: Mapping[str, object], headers: Mapping[str, str]) -> HttpRequest:
    """Write a POST of a form; a list gives its field once for each item."""
    sent = {**headers, "content-type": "application/x-www-form-urlencoded"}
    return HttpRequest(method="POST", url=url, headers=sent, body=urlencode(fields, doseq=True).encode())


def multipart_request(url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> HttpRequest:
    """Write a POST of a form as multipart/form-data, https://www.rfc-editor.org/rfc/rfc7578."""
    boundary = hashlib.sha256(json.dumps(dict(fields)).encode()).hexdigest()  # so that no value contains it
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    sent = {**headers, "content-type": f"multipart/form-data; boundary={boundary}"}
    return HttpRequest(
        method="POST", url=url, headers=sent, body="".join([*parts, f"--{boundary}--\r\n"]).encode()
    )


def about_job(
    method: str,
    path: str,
    credentials: Callable[[str], Mapping[str, str]],
    body: JsonObject | None = None,
) -> Callable[[Ask], HttpRequest]:
    """Return what writes a request about a job: to poll it, to cancel it, or to find it.

    `{id}` in the path is where the provider's id of the job belongs, as one segment; `{path}` where one that
    is a path itself does; `{job_id}` where ours does. `credentials` makes headers of the API key.
    """

    def write(job: Ask) -> HttpRequest:
        inner = "/".join(map(segment, job.external_id.split("/")))
        place = path.replace("{id}", segment(job.external_id)).replace("{path}", inner)
        place = place.replace("{job_id}", job.job_id)
        url, headers = job.api_url + place, credentials(job.api_key)
        if body is None:
            return HttpRequest(method=method, url=url, headers=headers)
        return json_request(method, url, body, headers)

    return write


def segment(text: str) -> str:
    """Write a text as one segment of an address's path, which it can neither end nor climb out of."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")
