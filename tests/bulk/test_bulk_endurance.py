"""Other processes change the files of a run, during the run and between two runs."""

import pytest
from bulk_rows import ids_of, row, stage

from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.settings import Paths

SPELLINGS = ["symbolic", "hard", "dots"]


def rows(count):
    return [row(number) for number in range(1, count + 1)]


def by_another_name(path, how):
    if how == "dots":
        (path.parent / "sub").mkdir()
        return path.parent / "sub" / ".." / path.name
    link = path.with_name("link.jsonl")
    (link.symlink_to if how == "symbolic" else link.hardlink_to)(path)
    return link


@pytest.mark.parametrize("how", SPELLINGS)
async def test_two_runs_on_one_output_refuse_each_other_by_any_name(autojump_clock, output, how):
    """Even when nothing is written yet, so that the file itself does not show its owner."""
    async with stage() as it:
        async with it.open(rows(20), output) as first:
            other = by_another_name(output, how)
            with pytest.raises(BulkRefused, match="another run is writing"):
                await it.run(rows(20), other)
            if how != "dots":
                assert not Paths(other).store.exists()
            await first.wait()
        assert it.requests == 20
    assert ids_of(output) == [one.custom_id for one in rows(20)]


@pytest.mark.parametrize("what", ["removed", "replaced"])
async def test_an_output_that_was_removed_meanwhile_is_written_again(autojump_clock, output, what):
    """The store beside it has the responses, and stays, although it was not to be kept."""
    async with stage() as it:
        with pytest.raises(BulkStopped, match="moved, removed or changed the file; do not change"):
            async with it.open(rows(20), output, keep=False) as run:
                output.unlink()
                if what == "replaced":
                    output.write_text("My novel.\n")
                await run.wait()
        assert Paths(output).store.exists()
        await it.run(rows(20), output, keep=False)
        assert it.requests == 20
    assert ids_of(output) == [one.custom_id for one in rows(20)]
    assert not Paths(output).store.exists()


def edits(text):
    lines = text.splitlines(keepends=True)
    return {
        "emptied": b"",
        "a line less": b"".join(lines[:4] + lines[5:]),
        "a line twice": b"".join([*lines, *lines[3:4]]),
        "another order": b"".join(reversed(lines)),
        "another answer": text.replace(b'"status_code": 200', b'"status_code": 500').replace(
            b'"status_code":200', b'"status_code":500', 1
        ),
        "no lines": b"\n\n\0\xff{" + text[100:],
        "other ends of lines": text.replace(b"\n", b"\r\n"),
    }


UNORDERED = ("a line less", "a line twice")
EDITS = [
    pytest.param(what, ordered, marks=[] if ordered or what in UNORDERED else [pytest.mark.slow])
    for what in edits(b"")
    for ordered in (True, False)
]


@pytest.mark.parametrize(("what", "ordered"), EDITS)
async def test_an_output_edited_by_hand_is_put_right_without_asking(
    autojump_clock, output, what, ordered
):
    async with stage() as it:
        await it.run(rows(20), output, ordered=ordered)
        right = output.read_bytes()
        wrong = edits(right)[what]
        assert wrong != right
        output.write_bytes(wrong)
        await it.run(rows(20), output, ordered=ordered)
        assert it.requests == 20
    if ordered:
        assert output.read_bytes() == right
    assert sorted(output.read_bytes().splitlines()) == sorted(right.splitlines())


async def test_a_folder_that_was_moved_can_be_resumed(autojump_clock, tmp_path):
    (tmp_path / "here").mkdir()
    async with stage() as it:
        await it.run(rows(20), tmp_path / "here" / "out.jsonl")
        (tmp_path / "here").rename(tmp_path / "there")
        await it.run(rows(25), tmp_path / "there" / "out.jsonl")
        assert it.requests == 25
    assert ids_of(tmp_path / "there" / "out.jsonl") == [one.custom_id for one in rows(25)]
