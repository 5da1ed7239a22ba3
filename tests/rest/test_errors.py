"""The one shape of every error, whatever goes wrong on the way to a view."""

from __future__ import annotations

import io
import json

import pytest
from django.test import Client
from django.urls import path
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from ovara import errors
from ovara.database import UNSERVED
from ovara.rest import MAX_BODY_BYTES
from ovara.urls import urlpatterns as real_patterns
from tests.rest.conftest import signed_in_without_csrf
from tests.rest.test_conversations import error

# Every address that needs somebody to be signed in.
GUARDED = [
    ("get", "/api/conversations"),
    ("post", "/api/conversations"),
    ("get", "/api/conversations/{id}"),
    ("patch", "/api/conversations/{id}"),
    ("post", "/api/conversations/{id}/participants"),
    ("delete", "/api/conversations/{id}/participants/bob"),
    ("get", "/api/conversations/{id}/messages"),
    ("post", "/api/conversations/{id}/messages"),
    ("get", "/api/sessions"),
    ("get", "/api/sessions/{id}"),
    ("get", "/api/clients/{id}/connections"),
    ("post", "/api/token/session/"),
]
STAFF_ONLY = [
    ("get", "/api/connections/stats"),
    ("post", "/api/connections/cleanup"),
    ("delete", "/api/connections/{id}"),
    ("get", "/metrics"),
]
AN_ID = "01a204ff-b87e-7596-8aa3-a61245b618c3"


def call(client: APIClient, method: str, address: str, body: dict | None = None):
    body = None if method == "get" else body
    return getattr(client, method)(address.format(id=AN_ID), body, format="json")


@pytest.mark.parametrize(("method", "address"), GUARDED + STAFF_ONLY)
def test_anonymous_is_401_and_told_how_to_sign_in(nobody, db, method, address):
    answer = call(nobody, method, address)
    assert error(answer) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "address"), STAFF_ONLY)
def test_operations_are_for_staff(call_as, alice, method, address):
    assert error(call(call_as(alice), method, address)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("method", "address"),
    [(method, address) for method, address in GUARDED + STAFF_ONLY if method != "get"],
)
def test_a_session_without_its_csrf_token_is_403(staff, method, address):
    assert error(call(signed_in_without_csrf(staff), method, address)) == (403, "forbidden")


@pytest.mark.parametrize(
    "address",
    [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/conversations/",
        "/api/token",
        "/api/sessions/",
        f"/api/conversations/{AN_ID}/",
        "/api/connections/stats/",
        "/api/connections/nothing",
        f"/api/connections/{AN_ID.upper()}",
        "/api/clients/7/connections",
    ],
)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_address_is_404_in_json(nobody, db, method, address):
    answer = getattr(nobody, method)(address)
    assert error(answer) == (404, "not_found")
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_an_unknown_address_asks_no_page_for_its_csrf_token(alice, method):
    client = signed_in_without_csrf(alice)
    answer = getattr(client, method)("/api/conversations/not-an-id/messages")
    assert error(answer) == (404, "not_found")


def test_an_address_outside_the_api_is_an_ordinary_404(nobody, db):
    assert "text/html" in nobody.get("/nothing")["Content-Type"]


@pytest.mark.parametrize("address", ["/api/conversations", "/api/token/", "/api/sessions"])
def test_a_method_that_is_not_there_is_405(bearer, alice, address):
    answer = bearer(alice).put(address)
    assert error(answer) == (405, "method_not_allowed")
    assert answer["Allow"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x"])
def test_a_body_that_is_not_json_is_415(bearer, alice, content_type):
    answer = bearer(alice).post("/api/conversations", "title=x", content_type=content_type)
    assert error(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"title": NaN}',
        b'{"title": Infinity}',
        b"[" * 100_000,
        b'{"title": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_json_is_400(bearer, alice, body):
    answer = bearer(alice).post("/api/conversations", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert answer.json()["fields"] == {}


def test_a_body_is_refused_before_it_is_parsed_when_it_is_too_large(bearer, alice):
    client = bearer(alice)
    for size, status in ((MAX_BODY_BYTES, 201), (MAX_BODY_BYTES + 1, 400)):
        body = b'{"title": "x"}'.ljust(size)
        answer = client.post("/api/conversations", body, content_type="application/json")
        assert answer.status_code == status
    assert error(answer) == (400, "too_large")


def test_what_a_caller_accepts_changes_nothing(bearer, alice):
    for accept in ("text/html", "application/xml", "nonsense"):
        answer = bearer(alice).get("/api/conversations?format=xml", HTTP_ACCEPT=accept)
        assert answer.status_code == 200
        assert answer["Content-Type"] == "application/json"


def test_a_wrong_host_is_400(nobody, db):
    answer = nobody.get("/api/conversations", HTTP_HOST="elsewhere.example")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


class RaisingView(APIView):
    """Raises what the test put there."""

    authentication_classes = ()
    permission_classes = ()
    error: Exception

    def get(self, request):
        raise RaisingView.error

    def post(self, request):
        return Response(request.data)


urlpatterns = [path("api/raising", RaisingView.as_view()), *real_patterns]
handler500 = "ovara.rest.server_error"


@pytest.mark.urls("tests.rest.test_errors")
class TestOurErrors:
    @pytest.mark.parametrize(
        ("raised", "status", "code"),
        [
            (errors.TooLarge("x"), 400, "too_large"),
            (errors.Unauthenticated("x"), 401, "unauthenticated"),
            (errors.Forbidden("x"), 403, "forbidden"),
            (errors.NotFound("x"), 404, "not_found"),
            (errors.NotJoined("x"), 409, "not_joined"),
            (errors.RateLimited("x", retry_after=0.2), 429, "rate_limited"),
            (errors.Overloaded("x"), 503, "overloaded"),
        ],
    )
    def test_each_has_its_status_and_code(self, nobody, raised, status, code):
        RaisingView.error = raised
        answer = nobody.get("/api/raising")
        assert (answer.status_code, answer.json()) == (status, {"detail": "x", "code": code})
        assert answer.get("Retry-After") == ("1" if code == "rate_limited" else None)
        assert ("WWW-Authenticate" in answer) == (status == 401)

    def test_invalid_brings_its_fields(self, nobody):
        RaisingView.error = errors.Invalid("x", fields={"a": ["b"]})
        answer = nobody.get("/api/raising")
        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "x", "code": "invalid", "fields": {"a": ["b"]}},
        )

    @pytest.mark.parametrize("error", UNSERVED)
    def test_a_database_that_does_not_serve_is_503_without_details(self, nobody, error):
        RaisingView.error = error("a secret")
        answer = nobody.get("/api/raising")
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert "secret" not in answer.content.decode()

    def test_an_error_of_the_server_is_500_in_json_without_details(self, db):
        RaisingView.error = RuntimeError("a secret")
        answer = Client(raise_request_exception=False).get("/api/raising")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.content.decode()

    def test_json_comes_and_goes_as_it_is(self, nobody):
        body = {"text": "é🎈\u2028", "number": 2**53 - 1, "none": None, "list": [1.5, True]}
        answer = nobody.post(
            "/api/raising",
            io.BytesIO(json.dumps(body).encode()).read(),
            content_type="application/json",
        )
        assert answer.json() == body
