"""A `MONGODB_URI` or `MONGODB_DB_NAME` that makes no sense is refused by its name, and what is in
it is never repeated: it may be a password. What each program then says is in test_start.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ovara.database_settings import database_settings

PASSWORD = "s3cr-et"
GOOD = f"mongodb://ovara:{PASSWORD}@db:27017/"


def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **variables: str) -> str:
    """What is said of these variables."""
    # The run's own database is none of the question.
    for name in ("DATABASE_URL", "MONGODB_URI", "MONGODB_DB_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as caught:
        database_settings(tmp_path)
    assert PASSWORD not in str(caught.value)
    # What an error came from might show the password in a traceback.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "nonsense",
        PASSWORD,
        "mongodb://",
        f"mongo://ovara:{PASSWORD}@db/ovara",
        f"http://ovara:{PASSWORD}@db/ovara",
        f"postgres://ovara:{PASSWORD}@db/ovara",
        f"//ovara:{PASSWORD}@db/ovara",
        f"mongodb://ovara:{PASSWORD}/x@db:27017/",
        f"mongodb://ovara:{PASSWORD}@x@db:27017/",
        f"mongodb://ovara:{PASSWORD}:x@db:27017/",
        f"mongodb://ovara:{PASSWORD}%zz@db:27017/",
        f"mongodb://:{PASSWORD}@db:27017/",
        f"mongodb://ovara:{PASSWORD}@/ovara",
        f"mongodb://ovara:{PASSWORD}@[db/ovara",
        f"mongodb://ovara:{PASSWORD}@db:port/ovara",
        f"mongodb://ovara:{PASSWORD}@db:99999/ovara",
        f"mongodb://ovara:{PASSWORD}@db/ovara?journal=maybe",
        f"mongodb://ovara:{PASSWORD}@db/ovara?authMechanism=none",
        f"mongodb://ovara:{PASSWORD}@db/ovara?unheardOf=1",
        f"mongodb+srv://ovara:{PASSWORD}/x@db/",
    ],
)
@pytest.mark.parametrize("name", ["ovara", ""])
def test_an_address_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, name: str
) -> None:
    said = refused(monkeypatch, tmp_path, MONGODB_URI=uri, MONGODB_DB_NAME=name)
    assert said.startswith("MONGODB_URI cannot be read: write mongodb://user:password@host:27017/")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("w=0", "MONGODB_URI says w=0"),
        ("readPreference=secondaryPreferred", "MONGODB_URI says readPreference"),
        ("tls=true&tlsCAFile=/no/such/file", "MONGODB_URI names a file that cannot be read"),
    ],
)
def test_an_option_with_which_nothing_could_be_promised_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, says: str
) -> None:
    uri = f"{GOOD}ovara?{option}"
    assert refused(monkeypatch, tmp_path, MONGODB_URI=uri).startswith(says)


@pytest.mark.parametrize("name", ["a b", "a.b", "a/b", "a\\b", 'a"b', "a$b", "a" * 64])
def test_a_name_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    said = refused(monkeypatch, tmp_path, MONGODB_URI=GOOD, MONGODB_DB_NAME=name)
    assert said.startswith(f"MONGODB_DB_NAME is {name!r}: ")


def test_a_name_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = refused(monkeypatch, tmp_path, MONGODB_URI=GOOD, MONGODB_DB_NAME="")
    assert said.startswith("MONGODB_DB_NAME is not set: ")


def test_an_address_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = refused(monkeypatch, tmp_path, MONGODB_URI="", MONGODB_DB_NAME="ovara")
    assert said.startswith("MONGODB_DB_NAME is set and MONGODB_URI is not: ")


def test_two_databases_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"postgres://ovara:{PASSWORD}@db/ovara"
    said = refused(
        monkeypatch, tmp_path, MONGODB_URI=GOOD, MONGODB_DB_NAME="ovara", DATABASE_URL=url
    )
    assert said == "MONGODB_URI and DATABASE_URL are both set: unset one, there is one database."


@pytest.mark.parametrize(
    ("uri", "variable", "name"),
    [
        (GOOD, "ovara", "ovara"),
        (f"{GOOD}in_uri", "", "in_uri"),
        (f"{GOOD}in_uri", "ovara", "ovara"),
        ("mongodb://a:1,b:2,c:3/in_uri?replicaSet=rs", "", "in_uri"),
        # Its servers are looked up when it is used.
        (f"mongodb+srv://ovara:{PASSWORD}@no-such-host.invalid/in_uri", "", "in_uri"),
    ],
)
def test_what_is_acknowledged_is_stored_by_most_and_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, variable: str, name: str
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("MONGODB_URI", uri)
    monkeypatch.setenv("MONGODB_DB_NAME", variable)
    config = database_settings(tmp_path).config
    assert (config["HOST"], config["NAME"]) == (uri, name)
    assert config["OPTIONS"]["w"] == "majority"
    assert config["OPTIONS"]["journal"] is True


def test_what_the_address_itself_says_is_not_overruled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("MONGODB_URI", f"{GOOD}ovara?w=2&journal=false&connectTimeoutMS=9000")
    options = database_settings(tmp_path).config["OPTIONS"]
    assert not {"w", "journal", "connecttimeoutms"} & set(options)
    assert options["serverselectiontimeoutms"] == 5000
