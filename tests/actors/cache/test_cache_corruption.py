"""A response cache with one changed bit: each lookup finds the right response, or none (L14)."""

from random import Random

import pytest

from callsheet.actors import StorageError
from callsheet.actors.cache.file import CacheFile
from callsheet.actors.cache.store import CacheEntry
from callsheet.actors.storage import log_of

MIB = 2**20
KEYS = [f"{number:032x}" for number in range(40)]


def value_of(key):
    return f"the response to {key}".encode() * 20


@pytest.fixture
def whole(tmp_path):
    close(written(tmp_path / "whole"))
    return (tmp_path / "whole").read_bytes()


def written(path):
    """Return an open file with responses."""
    file = CacheFile(path, None, MIB)
    file.open()
    for key in KEYS:
        file.put_many([CacheEntry(key, value_of(key), 1.0)], [], 1.0)
    return file


def close(file):
    file.close_reader()
    file.close_writer()


def found_in(path):
    file = CacheFile(path, None, MIB)
    try:
        file.open()
        return file.get_many(KEYS, 2.0)
    finally:
        close(file)


def flipped(whole, random):
    at = random.randrange(len(whole))
    return whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :]


def check_flips(whole, tmp_path, *, count, checks_all, monkeypatch):
    if not checks_all:  # as with a file that is too large to be checked when it is opened
        monkeypatch.setattr("callsheet.actors.cache.file._CHECKED_BYTES", 0)
    random, refused = Random(7), 0
    for number in range(count):
        path = tmp_path / f"{number}"
        path.write_bytes(flipped(whole, random))
        try:
            found = found_in(path)
        except StorageError:
            refused += 1
        else:
            assert all(entry.value == value_of(entry.key) for entry in found)
            assert not checks_all or len(found) == len(KEYS)
        path.unlink(missing_ok=True)
    return refused


@pytest.mark.parametrize("checks_all", [True, False], ids=["checked", "not checked"])
def test_a_bit_that_is_changed_never_makes_another_response(
    whole, tmp_path, monkeypatch, *, checks_all
):
    more = {"checks_all": checks_all, "monkeypatch": monkeypatch}
    assert check_flips(whole, tmp_path, count=30, **more) > 2


@pytest.mark.slow
@pytest.mark.parametrize("checks_all", [True, False], ids=["checked", "not checked"])
def test_many_bits_that_are_changed_never_make_another_response(
    whole, tmp_path, monkeypatch, *, checks_all
):
    more = {"checks_all": checks_all, "monkeypatch": monkeypatch}
    assert check_flips(whole, tmp_path, count=3000, **more) > 100


CUTS = {
    "empty": lambda _: b"",
    "its header": lambda log: log[:32],
    "half": lambda log: log[: len(log) // 2],
    "no log": lambda log: b"no log " * (len(log) // 7),
}


@pytest.mark.parametrize(
    "change", [*CUTS, *range(5), *(pytest.param(it, marks=pytest.mark.slow) for it in range(5, 20))]
)
def test_the_log_that_a_killed_process_leaves_never_makes_another_response(tmp_path, change):
    """A cache may lose what a damaged log had, which costs only its hits."""
    origin, path = tmp_path / "origin", tmp_path / "copy"
    file = written(origin)
    log = log_of(origin).read_bytes()
    path.write_bytes(origin.read_bytes())
    close(file)
    changed = CUTS[change](log) if change in CUTS else flipped(log, Random(change))
    log_of(path).write_bytes(changed)
    try:
        found = found_in(path)
    except StorageError:
        return
    assert all(entry.value == value_of(entry.key) for entry in found)
