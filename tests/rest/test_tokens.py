"""Issuing, renewing, checking and revoking tokens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from jwt.warnings import InsecureKeyLengthWarning
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken as ForeignAccessToken

from ovara.accounts.models import RevokedToken, User
from ovara.accounts.services import revoke, revoked_tokens_purge
from ovara.accounts.signals import token_revoked, user_deactivated
from ovara.accounts.token_backend import Backend
from ovara.accounts.tokens import AccessToken, RefreshToken, verify_access_token
from ovara.errors import Unauthenticated
from ovara.times import CLOCK_TOLERANCE, now
from tests.rest.conftest import PASSWORD, signed_in_without_csrf, with_token

Client = Callable[[User], APIClient]


def sign_in(client: APIClient, username: str = "alice", password: str = PASSWORD) -> dict[str, str]:
    answer = client.post("/api/token/", {"username": username, "password": password}, "json")
    assert answer.status_code == 200, answer.json()
    return answer.json()


def can_call(token: str) -> bool:
    status = with_token(token).get("/api/conversations").status_code
    assert status in (200, 401)
    return status == 200


def session_token(client: APIClient) -> str:
    answer = client.post("/api/token/session/")
    assert answer.status_code == 200, answer.json()
    assert set(answer.json()) == {"access"}
    token: str = answer.json()["access"]
    return token


class Heard:
    """What a signal said."""

    def __init__(self, signal, name):
        self.values = []
        signal.connect(self, weak=False)
        self.name = name
        self.signal = signal

    def __call__(self, **values):
        self.values.append(values[self.name])


@pytest.fixture
def revoked():
    heard = Heard(token_revoked, "key")
    yield heard.values
    token_revoked.disconnect(heard)


@pytest.fixture
def deactivated():
    heard = Heard(user_deactivated, "user_id")
    yield heard.values
    user_deactivated.disconnect(heard)


class TestSigningIn:
    def test_a_name_and_a_password_bring_a_pair_of_tokens_of_one_family(self, nobody, alice):
        pair = sign_in(nobody)

        assert set(pair) == {"access", "refresh"}
        access, refresh = verify_access_token(pair["access"]), RefreshToken(pair["refresh"])
        assert access.user_id == str(alice.pk)
        assert access.family == refresh["fam"]
        assert access.jti != refresh["jti"]
        assert can_call(pair["access"])

    def test_two_sign_ins_are_two_families(self, nobody, alice):
        one, two = sign_in(nobody), sign_in(nobody)
        assert RefreshToken(one["refresh"])["fam"] != RefreshToken(two["refresh"])["fam"]

    @pytest.mark.parametrize(
        ("username", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("ALICE", PASSWORD)]
    )
    def test_wrong_credentials_are_401(self, nobody, alice, username, password):
        body = {"username": username, "password": password}
        answer = nobody.post("/api/token/", body, "json")
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"
        assert "WWW-Authenticate" in answer

    def test_a_password_is_taken_as_it_is(self, nobody, alice):
        alice.set_password(" spaces at both ends ")
        alice.save()
        sign_in(nobody, password=" spaces at both ends ")
        body = {"username": "alice", "password": "spaces at both ends"}
        assert nobody.post("/api/token/", body, "json").status_code == 401

    def test_a_deactivated_user_does_not_sign_in(self, nobody, alice):
        User.objects.update(is_active=False)
        body = {"username": "alice", "password": PASSWORD}
        assert nobody.post("/api/token/", body, "json").status_code == 401

    def test_missing_fields_are_named(self, nobody, db):
        answer = nobody.post("/api/token/", {}, "json")
        assert answer.status_code == 400
        assert set(answer.json()["fields"]) == {"username", "password"}


class TestRenewing:
    def test_a_refresh_token_brings_an_access_token_of_its_family(self, nobody, alice):
        pair = sign_in(nobody)
        answer = nobody.post("/api/token/refresh/", {"refresh": pair["refresh"]}, "json")
        assert answer.status_code == 200
        renewed = verify_access_token(answer.json()["access"])
        assert renewed.family == verify_access_token(pair["access"]).family
        assert renewed.jti != verify_access_token(pair["access"]).jti

    @pytest.mark.parametrize("what", ["deactivated", "deleted"])
    def test_not_for_a_user_who_is_gone(self, nobody, alice, what):
        pair = sign_in(nobody)
        if what == "deleted":
            alice.delete()
        else:
            User.objects.update(is_active=False)
        answer = nobody.post("/api/token/refresh/", {"refresh": pair["refresh"]}, "json")
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"

    def test_an_access_token_is_no_refresh_token(self, nobody, alice):
        access = sign_in(nobody)["access"]
        answer = nobody.post("/api/token/refresh/", {"refresh": access}, "json")
        assert answer.status_code == 401


class TestRevoking:
    def test_blacklisting_a_refresh_token_ends_its_whole_family(self, nobody, alice):
        pair, other = sign_in(nobody), sign_in(nobody)
        renewed = nobody.post("/api/token/refresh/", {"refresh": pair["refresh"]}, "json")

        answer = nobody.post("/api/token/blacklist/", {"refresh": pair["refresh"]}, "json")

        assert (answer.status_code, answer.json()) == (200, {})
        assert not can_call(pair["access"])
        assert not can_call(renewed.json()["access"])
        again = nobody.post("/api/token/refresh/", {"refresh": pair["refresh"]}, "json")
        assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")
        assert can_call(other["access"])

    def test_blacklisting_twice_is_401(self, nobody, alice):
        refresh = {"refresh": sign_in(nobody)["refresh"]}
        assert nobody.post("/api/token/blacklist/", refresh, "json").status_code == 200
        assert nobody.post("/api/token/blacklist/", refresh, "json").status_code == 401

    def test_verify_tells_good_tokens_from_revoked_ones(self, nobody, alice):
        pair = sign_in(nobody)
        for token in pair.values():
            answer = nobody.post("/api/token/verify/", {"token": token}, "json")
            assert (answer.status_code, answer.json()) == (200, {})
        nobody.post("/api/token/blacklist/", {"refresh": pair["refresh"]}, "json")
        for token in (*pair.values(), "nonsense"):
            answer = nobody.post("/api/token/verify/", {"token": token}, "json")
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    def test_a_row_outlives_every_token_of_the_family(self, alice):
        refresh = RefreshToken.for_user(alice)
        refresh.blacklist()
        last_access_token_ends = refresh["exp"] + AccessToken.lifetime.total_seconds()
        for row in RevokedToken.objects.all():
            assert row.expires_at.timestamp() >= last_access_token_ends

    @pytest.mark.django_db(transaction=True)
    def test_revoking_is_told_once_for_each_key(self, revoked):
        revoke("a-family", now() + timedelta(hours=1))
        revoke("a-family", now() + timedelta(hours=2))
        assert revoked == ["a-family"]
        assert RevokedToken.objects.get().expires_at > now() + timedelta(hours=1, minutes=59)

    def test_revoking_again_never_shortens_it(self, db):
        revoke("a-family", now() + timedelta(hours=2))
        revoke("a-family", now() + timedelta(hours=1))
        assert RevokedToken.objects.get().expires_at > now() + timedelta(hours=1, minutes=59)

    def test_the_purge_deletes_what_has_expired_on_every_clock_and_nothing_else(self, db):
        revoke("old", now() - 2 * CLOCK_TOLERANCE - timedelta(seconds=1))
        # Where the clock is behind, and within the leeway, it may still be taken.
        revoke("just now", now() - 2 * CLOCK_TOLERANCE + timedelta(seconds=1))
        revoke("new", now() + timedelta(minutes=1))
        assert revoked_tokens_purge() == 1
        assert [row.jti for row in RevokedToken.objects.order_by("jti")] == ["just now", "new"]


class TestBrowserSession:
    def test_a_signed_in_page_gets_access_tokens_of_one_family(self, page, alice):
        client = page(alice)
        one, two = session_token(client), session_token(client)
        assert verify_access_token(one).family == verify_access_token(two).family
        assert verify_access_token(one).user_id == str(alice.pk)
        assert can_call(one)

    def test_the_family_does_not_disclose_the_session_key(self, page, alice):
        client = page(alice)
        token = session_token(client)
        payload = jwt.decode(token, options={"verify_signature": False})
        assert client.session.session_key not in str(payload)

    def test_signing_out_revokes_the_tokens_of_this_browser_alone(self, page, alice, revoked):
        here, elsewhere = page(alice), page(alice)
        token, other = session_token(here), session_token(elsewhere)

        assert here.post("/logout/").status_code == 302

        assert not can_call(token)
        assert can_call(other)
        assert here.post("/api/token/session/").status_code == 401

    @pytest.mark.django_db(transaction=True)
    def test_signing_out_is_told(self, page, alice, revoked):
        client = page(alice)
        family = verify_access_token(session_token(client)).family
        client.post("/logout/")
        assert revoked == [family]

    def test_a_new_session_key_keeps_the_family(self, page, alice):
        client = page(alice)
        before = verify_access_token(session_token(client)).family
        session = client.session
        session.cycle_key()
        client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
        assert verify_access_token(session_token(client)).family == before

    def test_without_a_csrf_token_it_is_403(self, alice):
        answer = signed_in_without_csrf(alice).post("/api/token/session/")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    def test_a_bearer_token_brings_none(self, bearer, alice):
        answer = bearer(alice).post("/api/token/session/")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "WWW-Authenticate" in answer

    def test_a_deactivated_user_gets_none(self, page, alice):
        client = page(alice)
        User.objects.update(is_active=False)
        assert client.post("/api/token/session/").status_code == 401


class TestBearer:
    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer a b", "Bearer nonsense", "Bearer a.b.c", "Bearer é"]
    )
    def test_what_is_no_token_is_401(self, nobody, db, header):
        answer = nobody.get("/api/conversations", HTTP_AUTHORIZATION=header)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer["WWW-Authenticate"].startswith("Bearer")

    def test_a_refresh_token_is_no_access_token(self, alice):
        assert not can_call(str(RefreshToken.for_user(alice)))

    def test_an_expired_token_is_401(self, alice):
        token = AccessToken.for_user(alice)
        token.set_exp(lifetime=timedelta(seconds=-1))
        assert not can_call(str(token))

    def test_a_token_under_another_key_is_401(self, alice):
        payload = AccessToken.for_user(alice).payload
        assert not can_call(jwt.encode(payload, "k" * 40, algorithm="HS256"))
        assert not can_call(jwt.encode(payload, None, algorithm="none"))

    def test_a_token_of_another_algorithm_is_401(self, alice):
        payload = AccessToken.for_user(alice).payload
        key = settings.SIMPLE_JWT["SIGNING_KEY"]
        assert can_call(jwt.encode(payload, key, algorithm="HS256"))
        with pytest.warns(InsecureKeyLengthWarning):
            other = jwt.encode(payload, key, algorithm="HS512")
        assert not can_call(other)

    def test_a_token_with_something_else_in_it_is_401(self, alice):
        header, payload, signature = str(AccessToken.for_user(alice)).split(".")
        other = str(AccessToken.for_user(alice)).split(".")[1]
        assert payload != other
        assert not can_call(f"{header}.{other}.{signature}")

    def test_a_public_key_is_no_secret(self):
        backend = Backend("HS256", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----")
        with pytest.raises(jwt.InvalidKeyError, match="asymmetric"):
            backend.encode({})

    @pytest.mark.parametrize("what", ["deactivated", "deleted"])
    def test_the_token_of_a_user_who_is_gone_is_401(self, alice, what):
        token = str(AccessToken.for_user(alice))
        assert can_call(token)
        if what == "deleted":
            alice.delete()
        else:
            User.objects.update(is_active=False)
        assert not can_call(token)

    def test_a_bad_token_is_401_even_beside_a_good_session(self, page, alice):
        answer = page(alice).get("/api/conversations", HTTP_AUTHORIZATION="Bearer nonsense")
        assert answer.status_code == 401


class TestVerifying:
    def test_the_end_and_the_keys_are_the_tokens(self, alice):
        token = RefreshToken.for_user(alice).access_token
        verified = verify_access_token(str(token))
        assert verified.expires_at.timestamp() == token["exp"]
        assert verified.keys == (token["jti"], token["fam"])

    def test_a_token_without_a_family_is_its_own(self, alice):
        verified = verify_access_token(str(ForeignAccessToken.for_user(alice)))
        assert verified.family == verified.jti

    def test_an_unusual_spelling_of_the_user_id_is_normalised(self, alice):
        token = AccessToken.for_user(alice)
        token["user_id"] = str(alice.pk).upper()
        assert verify_access_token(str(token)).user_id == str(alice.pk)

    @pytest.mark.parametrize("user_id", ["7", "", None, 7, "alice"])
    def test_a_user_id_that_is_no_uuid_is_refused(self, alice, user_id):
        token = AccessToken.for_user(alice)
        token["user_id"] = user_id
        with pytest.raises(Unauthenticated, match="names no user"):
            verify_access_token(str(token))
        assert not can_call(str(token))

    @pytest.mark.parametrize("jti", ["", 7, None, "x" * 65])
    def test_an_id_that_could_not_be_revoked_is_refused(self, alice, jti):
        token = AccessToken.for_user(alice)
        token["jti"] = jti
        with pytest.raises(Unauthenticated):
            verify_access_token(str(token))

    @pytest.mark.parametrize("text", ["", "x", "é.è.ê", "\ud800", "a.b.c"])
    def test_what_is_no_token_is_refused(self, text):
        with pytest.raises(Unauthenticated, match="not valid"):
            verify_access_token(text)

    def test_an_expired_token_is_called_so(self, alice):
        token = AccessToken.for_user(alice)
        token.set_exp(lifetime=timedelta(seconds=-1))
        with pytest.raises(Unauthenticated, match="expired"):
            verify_access_token(str(token))


@pytest.mark.django_db(transaction=True)
class TestDeactivation:
    def test_it_is_told_once(self, user, deactivated):
        alice = user("alice")
        alice.is_active = False
        alice.save()
        alice.save()
        assert deactivated == [str(alice.pk)]

    def test_nothing_is_told_when_it_is_not_saved(self, user, deactivated):
        alice = user("alice")
        alice.is_active = False
        alice.save(update_fields=["email"])
        assert deactivated == []

    def test_an_account_that_begins_inactive_is_not_told(self, user, deactivated):
        user("alice", is_active=False)
        assert deactivated == []

    def test_deletion_is_told(self, user, deactivated):
        alice = user("alice")
        user_id = str(alice.pk)
        alice.delete()
        assert deactivated == [user_id]
