"""OUTPUT is repaired from any state, in whole lines."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.files.lines import RowOutcome
from callsheet.bulk.files.lines_file import LinesFile
from callsheet.bulk.files.output import OrderedOutput, UnorderedOutput, matching
from callsheet.bulk.progress import RowEnded


def outcomes(lines):
    """Return rows that have a response, each with one of the lines."""
    return [
        RowOutcome(place, line, RowEnded(at=0.0, number=place + 1, custom_id=""))
        for place, line in enumerate(lines)
    ]


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
        output.write(outcomes(lines[at : at + step]))
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
    output.write(outcomes([b"%d\n" % one for one in wanted]))
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
    output.write(outcomes([b"a\n", b"b\n"]))
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


def link_to(path, how):
    link = path.with_name("link.jsonl")
    (link.symlink_to if how == "symbolic" else link.hardlink_to)(path)
    return link


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_file_is_one_run_s_whatever_its_name(tmp_path, how):
    path = tmp_path / "out.jsonl"
    file = LinesFile(path)
    link = link_to(path, how)
    os.write(file._file, b"half a li")  # the other process must not cut this off
    with pytest.raises(BlockingIOError):
        LinesFile(link)
    assert path.read_bytes() == b"half a li"
    file.close()
    LinesFile(link).close()


@pytest.mark.skipif(os.name == "nt", reason="it has no such call")
@pytest.mark.parametrize("old", [b"", b"an old line\n"], ids=["new", "replaced"])
def test_at_the_end_the_names_are_on_the_disk_too(tmp_path, monkeypatch, old):
    """The store beside OUTPUT may be removed after that."""
    path, synced, fsync = tmp_path / "out.jsonl", [], os.fsync
    path.write_bytes(old)

    def note(handle):
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    output = UnorderedOutput(path)
    output.write(outcomes([b"a\n"]))
    output.finish()
    output.close()
    assert synced[-2:] == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_a_file_that_is_written_anew_stays_where_a_link_leads_and_keeps_its_mode(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"a\nb\n")
    path.chmod(0o640)
    link = link_to(path, "symbolic")
    output = UnorderedOutput(link)
    output.write(outcomes([b"b\n", b"c\n"]))
    output.finish()
    with pytest.raises(BlockingIOError):
        LinesFile(path)
    output.close()
    assert link.is_symlink()
    assert path.read_bytes() == b"b\nc\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("what", ["removed", "moved", "replaced", "cut"])
def test_a_file_that_was_removed_meanwhile_is_not_taken_for_finished(tmp_path, what):
    path = tmp_path / "out.jsonl"
    output = OrderedOutput(path)
    output.write(outcomes([b"a\n"]))
    if what == "removed":
        path.unlink()
    elif what == "cut":
        os.truncate(path, 1)
    else:
        path.rename(tmp_path / "elsewhere")
        if what == "replaced":
            path.write_bytes(b"a\n")
    with pytest.raises(OSError, match="moved, removed or changed"):
        output.finish()
    output.close()
