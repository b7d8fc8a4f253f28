"""The key store: secrets, names, rotation, expiry, several processes, and damage (L8, L14)."""

import re
import sqlite3
from contextlib import closing, suppress
from threading import Thread

import pytest

from callsheet.actors import (
    DamagedFile,
    ForeignFile,
    OtherVersion,
    StorageError,
    StorageUnavailable,
)
from callsheet.gateway.keys import InvalidKey, KeyFile, KeyTerms
from callsheet.gateway.keys.issuing import GRACE_S

NOW = 1_795_694_400.0  # 2026-11-26 12:00 UTC
DAY_S = 86_400.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "keys.sqlite3"


@pytest.fixture
def store(path, clock):
    with KeyFile(path, create=True, clock=clock) as found:
        yield found


def create(store, name="team-a", **more):
    terms = {key: more.pop(key) for key in list(more) if key in ("rpm", "weight", "models")}
    return store.create(KeyTerms(name=name, **terms), **more)


def names(store):
    return [key.name for key in store.known.valid()]


# ------------------------------------------------------------------------------ secrets


def test_a_key_is_found_by_its_secret_alone(store):
    issued = create(store)
    assert re.fullmatch(r"cs-[A-Za-z0-9_-]{43}", issued.secret)
    assert store.known.find(issued.secret) == issued.key
    other = create(store, "team-b").secret
    for wrong in ("", "cs-", other[:-1], issued.secret.upper(), "k\ud800", "x" * 100_000):
        assert store.known.find(wrong) is None
    assert store.known.find(other).name == "team-b"


def test_a_secret_is_neither_in_the_file_nor_in_a_repr(store, path):
    issued = create(store)
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert issued.secret.encode() not in content
    assert issued.secret[8:] not in repr((issued, store, issued.key))
    assert issued.key.prefix == f"{issued.secret[:7]}…"


def test_only_the_owner_may_read_the_file(store, path):
    create(store)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_finding_a_key_does_not_need_the_file(store):
    issued = create(store)
    store.close()
    assert store.known.find(issued.secret) == issued.key


# ------------------------------------------------------------------------------ names, validity


@pytest.mark.parametrize("name", ["a", "team-a", "ann@example.org", "Team_1.2/ann:x+y", "9"])
def test_names_that_are_accepted(store, name):
    assert create(store, name).key.lane == name


@pytest.mark.parametrize(
    "name", ["", " ", "-a", "a b", "a*", "a[b]", "é", "a\n", "x" * 65, "k_1", "cs-abcdefgh", "?"]
)
def test_names_that_are_refused_without_showing_a_secret(store, name):
    with pytest.raises(InvalidKey, match="a name") as caught:
        create(store, name)
    assert "abcdefgh" not in str(caught.value)


def test_a_name_has_one_valid_key(store, clock):
    first = create(store, expires_at=NOW + DAY_S)
    with pytest.raises(InvalidKey, match=rf"key team-a already \({first.key.id}\).*--replace"):
        create(store)
    clock.now += DAY_S
    second = create(store)  # the first one has expired
    store.revoke("team-a")
    clock.now += 1.0
    third = create(store)
    assert [store.known.find(one.secret) for one in (first, second, third)] == [
        None,
        None,
        third.key,
    ]
    assert [key.id for key in store.all()] == [one.key.id for one in (first, second, third)]


def test_a_key_expires_by_the_wall_clock(store, clock):
    issued = create(store, expires_at=NOW + 60)
    clock.now = NOW + 59.9
    assert store.known.find(issued.secret) is not None
    clock.now = NOW + 60
    assert store.known.find(issued.secret) is None
    assert store.known.valid() == ()
    with pytest.raises(InvalidKey, match="would have expired"):
        create(store, "team-b", expires_at=NOW + 60)


def test_a_replaced_key_stays_valid_for_a_while_with_the_new_terms(store, clock):
    first = create(store, rpm=5)
    second = create(store, rpm=9, replace=True)
    assert [key.id for key in second.replaced] == [first.key.id]
    assert [store.known.find(one.secret).rpm for one in (first, second)] == [9, 9]
    clock.now += GRACE_S
    assert store.known.find(first.secret) is None
    assert store.known.find(second.secret) == second.key


def test_a_replaced_key_lives_no_longer_than_it_would_have(store):
    create(store, expires_at=NOW + 60)
    assert create(store, replace=True, grace_s=600).replaced[0].expires_at == NOW + 60
    assert create(store, replace=True, grace_s=0).replaced[-1].expires_at == NOW


def test_what_does_not_exist_is_not_replaced(store):
    create(store, "team-b")
    with pytest.raises(InvalidKey, match='no valid key team-a to replace; did you mean "team-b"'):
        create(store, replace=True)


@pytest.mark.parametrize("by", ["name", "id", "secret"])
def test_a_revoked_key_is_refused_at_once(store, by):
    issued, other = create(store), create(store, "team-b")
    which = {"name": "team-a", "id": issued.key.id, "secret": issued.secret}[by]
    (revoked,) = store.revoke(which)
    assert (revoked.id, revoked.revoked_at) == (issued.key.id, NOW)
    assert store.known.find(issued.secret) is None
    assert store.known.find(other.secret) is not None
    with pytest.raises(InvalidKey, match="has ended already") as caught:
        store.revoke(which)
    assert issued.secret not in str(caught.value)


def test_a_name_stands_for_all_its_valid_keys(store):
    create(store)
    create(store, replace=True)
    assert len(store.revoke("team-a")) == 2
    assert store.known.valid() == ()


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("team-A", "no key 'team-A'; did you mean \"team-a\"?; give a name or an id"),
        ("", "no key ''; give a name or an id"),
        ("cs-abcdefgh", "no key with that secret; give a name or an id"),
    ],
)
def test_the_error_of_an_unknown_key_shows_no_secret(store, which, text):
    create(store)
    with pytest.raises(InvalidKey, match=re.escape(text)):
        store.revoke(which)


# ------------------------------------------------------------------------------ processes


def test_another_process_sees_what_has_changed(store, path, clock):
    first = create(store)
    with KeyFile(path, clock=clock) as running:
        assert not running.read_changes()
        second = create(store, "team-b")
        changes = running.read_changes()
        assert [key.name for _, key in changes.keys] == ["team-b"]
        assert running.known.find(second.secret) is None
        running.known.apply(changes)
        assert names(running) == ["team-a", "team-b"]
        store.revoke("team-a")
        own = create(running, "team-c")  # it does not hide what the other one has done
        running.known.apply(running.read_changes())
        assert running.known.find(first.secret) is None
        store.known.apply(store.read_changes())
        assert store.known.find(own.secret) == own.key
        assert names(store) == names(running) == ["team-b", "team-c"]


def test_of_several_that_create_one_name_one_succeeds(path):
    KeyFile(path, create=True).close()
    created = []

    def work():
        with KeyFile(path) as store, suppress(InvalidKey):
            created.append(create(store))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1


def test_a_file_that_takes_the_place_of_another_is_read_as_a_whole(store, path, clock, tmp_path):
    create(store)
    with KeyFile(tmp_path / "other", create=True, clock=clock) as other:
        create(other, "team-b")
    (tmp_path / "other").replace(path)
    store.known.apply(store.read_changes())
    assert names(store) == ["team-b"]


def test_while_the_file_is_away_the_known_keys_stay_valid(store, path, tmp_path):
    issued = create(store)
    path.rename(tmp_path / "away")
    with pytest.raises(StorageError, match="does not exist"):
        store.read_changes()
    assert store.known.find(issued.secret) == issued.key
    (tmp_path / "away").rename(path)
    store.known.apply(store.read_changes())
    assert names(store) == ["team-a"]


# ------------------------------------------------------------------------------ damage


def test_a_missing_store_is_not_created_unless_that_is_asked_for(path):
    with pytest.raises(StorageUnavailable, match=rf"callsheet keys create NAME --store {path}"):
        KeyFile(path)
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keys SET rpm = 7",
        "UPDATE keys SET revoked_at = NULL",
        "UPDATE keys SET models = 'x', crc = checksum('x')",
    ],
)
def test_a_row_that_someone_has_changed_stops_the_gateway(store, path, change):
    create(store)
    store.revoke("team-a")
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("checksum", -1, lambda *_: 0)
        connection.execute(change)
        connection.commit()
    with pytest.raises(DamagedFile):
        KeyFile(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("PRAGMA user_version = 99", OtherVersion),
        ("PRAGMA application_id = 1", ForeignFile),
        ("DROP INDEX by_name", DamagedFile),
        (b"", DamagedFile),
        (b"no database, but a text of more than a hundred bytes " * 3, DamagedFile),
    ],
)
def test_a_file_that_is_no_key_store_is_refused_and_not_changed(store, path, content, error):
    store.close()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(content)
            connection.commit()
    before = path.read_bytes()
    with pytest.raises(error, match="key store"):
        KeyFile(path, create=True)
    assert path.read_bytes() == before
