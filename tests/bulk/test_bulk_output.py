"""OUTPUT is brought from whatever it is to what it should be, in whole lines."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.lines_file import LinesFile
from callsheet.bulk.output import OrderedOutput, UnorderedOutput, matching

LINES = st.lists(st.binary(max_size=5).map(lambda text: text.replace(b"\n", b"") + b"\n"))


@given(LINES, LINES, st.binary(max_size=3))
def test_what_matches_is_a_prefix_and_the_longest(old, lines, torn):
    count, size = matching(b"".join(old) + torn, lines)
    text = b"".join(old) + torn
    assert text.startswith(b"".join(lines[:count]))
    assert size == sum(map(len, lines[:count]))
    if count < len(lines):
        assert not text.startswith(b"".join(lines[: count + 1]))


@given(LINES, LINES, st.binary(max_size=3), st.integers(1, 4))
def test_a_file_becomes_what_it_should_be(tmp_path_factory, old, lines, torn, step):
    path = tmp_path_factory.mktemp("bulk") / "out.jsonl"
    path.write_bytes(b"".join(old) + torn.replace(b"\n", b""))
    output = OrderedOutput(path)
    for at in range(0, len(lines), step):
        output.write(lines[at : at + step])
        written = b"".join(lines[: at + step])
        assert path.read_bytes()[: len(written)] == written
        assert path.read_bytes().endswith(b"\n")
    output.finish()
    output.close()
    assert path.read_bytes() == b"".join(lines)


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True))
def test_an_unordered_file_keeps_what_is_right_where_it_is(tmp_path_factory, old, wanted):
    path = tmp_path_factory.mktemp("bulk") / "out.jsonl"
    path.write_bytes(b"".join(b"%d\n" % one for one in old) + b"torn")
    output = UnorderedOutput(path)
    output.write([b"%d\n" % one for one in wanted])
    output.finish()
    output.close()
    found = [int(line) for line in path.read_bytes().splitlines()]
    stay = [one for one in old if one in wanted]
    assert found == stay + [one for one in wanted if one not in old]


def test_what_is_right_is_not_written_again(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"a\nb\n")
    os.utime(path, ns=(0, 0))
    output = OrderedOutput(path)
    output.write([b"a\n", b"b\n"])
    output.finish()
    output.close()
    assert path.read_bytes() == b"a\nb\n"


def test_a_write_that_fails_leaves_no_half_line(tmp_path, monkeypatch):
    file = LinesFile(tmp_path / "out.jsonl")
    file.append(b"first\n")
    write = os.write

    def full(where, text):
        if len(text) < 4:
            raise OSError(28, "No space left on device")
        return write(where, text[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append(b"second\n" * 3 + b"ab")
    file.close()
    assert (tmp_path / "out.jsonl").read_bytes() == b"first\n"


def test_half_a_line_longer_than_a_piece_is_cut_off(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"whole\n" + b"x" * 200_000)
    LinesFile(path).close()
    assert path.read_bytes() == b"whole\n"
    path.write_bytes(b"x" * 200_000)
    LinesFile(path).close()
    assert path.read_bytes() == b""
