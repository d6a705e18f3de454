"""What is answered where a request fails: one line of JSON, with what to do about it."""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from unblur.errors import MediaError, ResourceError, UnblurError, UsageError, WeightsError
from unblur.web.guard import problem

STATUS: list[tuple[type[UnblurError], int]] = [
    (UsageError, 400),
    (MediaError, 422),
    (WeightsError, 422),
    (ResourceError, 503),
    (UnblurError, 500),
]
PLAIN = {
    400: "the body cannot be read: send JSON in UTF-8, see /api/openapi.json",
    404: "there is nothing at this address: /api/openapi.json lists those there are",
    405: "this address does not take that method: see /api/openapi.json",
}
"""What to say where the framework says less."""
LONGEST = 200
"""Characters that an answer repeats of a request."""


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """An error of unblur as an answer."""
    assert isinstance(error, UnblurError)  # noqa: S101
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return problem(status, str(error), error.exit_code)


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """A refusal of the framework or of `Bounded`."""
    assert isinstance(error, HTTPException)  # noqa: S101
    answer = problem(error.status_code, PLAIN.get(error.status_code, str(error.detail)))
    if error.status_code in (408, 413):
        answer.headers["connection"] = "close"  # what is still to come is not read
    return answer


async def on_wrong_body(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, in one line."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    body = first["loc"][0] == "body"
    if body and "json" not in request.headers.get("content-type", ""):
        return problem(422, "the body is not said to be JSON: send content-type: application/json")
    if first["type"] == "json_invalid":
        return problem(422, f"the body is no JSON ({first['ctx']['error']} at {first['loc'][-1]})")
    where = ".".join(str(x) for x in first["loc"] if x not in ("body", "query", "path"))
    what = f"{where[:LONGEST] or 'the request'}: {first['msg'][:LONGEST]}"
    return problem(422, f"{what}; see /api/openapi.json")


async def on_missing(request: Request, error: Exception) -> JSONResponse:
    """There is nothing of that number."""
    return problem(404, "there is nothing of that number: it may have been deleted")


async def on_gone(request: Request, error: Exception) -> Response:
    """An answer that no one reads."""
    return Response(status_code=499)
