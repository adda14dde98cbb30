"""Middleware of the test site: every answer carries a strict content security policy, so each page proves itself."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'"
)


class Policy:
    """Adds the policy; answers the request that every browser makes for an icon."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_icon = request.path == "/favicon.ico"
        answer = HttpResponse(status=204) if is_icon else self.get_response(request)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer
