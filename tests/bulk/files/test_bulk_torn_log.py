"""A store whose log is torn or rotten at its end: what is whole counts, the rest is asked again.

So a disk leaves it that has not written what it was told to write, or with `fsync="normal"`.
"""

import shutil
from random import Random

import attrs
import pytest
from bulk_rows import bodies, ids_of, row, stage
from power_cut import log_of

from callsheet.bulk.settings import Paths

ROWS, CUT_AT = 40, 25
HEAD, FRAME_HEAD, PAGE = 32, 24, 4096
FRAME = FRAME_HEAD + PAGE


def rows():
    return [row(number) for number in range(1, ROWS + 1)]


@attrs.frozen
class Scene:
    """What is on a disk in the middle of a run.

    Args:
        stage: the provider, which has been asked for each row once.
        folder: has the files.
        log: the store's.
        told: the ids of the rows that were told of by then.
        answers: what the whole run has written, by id.
    """

    stage: object
    folder: object
    log: bytes
    told: frozenset
    answers: dict

    async def go_on(self, log, *, ordered=True):
        """Go on with another log; the ids of those that were not asked again."""
        shutil.rmtree(after := self.folder.with_name("after"), ignore_errors=True)
        shutil.copytree(self.folder, after)
        output, found = after / "out.jsonl", set()
        log_of(Paths(output).store).write_bytes(log)
        before = self.stage.requests
        self.stage.wall_s += 60  # so that no line that is had again is the same
        settings = {"ordered": ordered, "fsync": "normal"}

        def look(ended):
            found.update({ended.custom_id} if ended.is_reused else ())

        results = await self.stage.run(rows(), output, observers=[look], **settings)
        assert [len(results), self.stage.requests - before] == [ROWS, ROWS - len(found)]
        assert sorted(ids_of(output)) == sorted(one.custom_id for one in rows())
        if ordered:
            assert ids_of(output) == [one.custom_id for one in rows()]
        assert bodies(output) == self.answers
        again = await self.stage.run(rows(), output, **settings)
        assert all(result.event.is_reused for result in again)
        return found


async def scene(it, tmp_path, *, ordered=True):
    """A run whose files are copied when so many rows were told of."""
    output, folder, told = tmp_path / "out.jsonl", tmp_path / "cut", set()

    def look(ended):
        told.add(ended.custom_id)
        if len(told) == CUT_AT:
            folder.mkdir()
            paths = Paths(output)
            for path in (paths.output, paths.store, log_of(paths.store)):
                shutil.copy(path, folder)
            seen.append(frozenset(told))

    seen = []
    await it.run(rows(), output, observers=[look], ordered=ordered, fsync="normal")
    log = log_of(Paths(folder / "out.jsonl").store).read_bytes()
    return Scene(it, folder, log, seen[0], bodies(output))


def flipped(log, at, bits=0xFF):
    return log[:at] + bytes([log[at] ^ bits]) + log[at + 1 :]


def ends(log):
    """Where its frames end."""
    return range(HEAD, len(log) + 1, FRAME)


async def test_a_whole_log_has_all_that_was_told(autojump_clock, tmp_path):
    async with stage() as it:
        there = await scene(it, tmp_path)
        assert (len(there.log) - HEAD) % FRAME == 0
        assert len(ends(there.log)) > 10
        assert await there.go_on(there.log) >= there.told


async def test_a_log_that_is_torn_anywhere_has_what_was_whole(autojump_clock, tmp_path):
    """The longer it is, the more is there; and it is never half a transaction."""
    async with stage() as it:
        there = await scene(it, tmp_path)
        near = {end + by for end in ends(there.log)[-2:] for by in (-PAGE, -1, 0, 1, FRAME_HEAD)}
        some = {*ends(there.log)[::5], 0, 1, HEAD - 1, HEAD, HEAD + 1}
        random = Random(1)
        some |= {random.randrange(len(there.log)) for _ in range(6)}
        counts = [len(await there.go_on(there.log[:at])) for at in sorted(near | some)]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert len(set(counts)) > 3
    assert counts[-1] >= CUT_AT


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("seed", range(10))
async def test_a_byte_that_is_rotten_in_the_last_frame_takes_it_away(
    autojump_clock, tmp_path, seed, ordered
):
    """SQLite's sums tell: what was before it is there, and what it had is asked again."""
    random = Random(seed)
    async with stage() as it:
        there = await scene(it, tmp_path, ordered=ordered)
        # In its head: page, size, salts and sums; in its page, whatever it has.
        at = seed if seed % 2 else random.randrange(FRAME_HEAD, FRAME)
        log = flipped(there.log, len(there.log) - FRAME + at, 1 << random.randrange(8))
        found = await there.go_on(log, ordered=ordered)
        whole = await there.go_on(there.log, ordered=ordered)
    assert found < whole


@pytest.mark.parametrize("seed", range(6))
async def test_rot_anywhere_in_the_log_takes_away_what_follows(autojump_clock, tmp_path, seed):
    random = Random(seed)
    async with stage() as it:
        there = await scene(it, tmp_path)
        at = random.randrange(HEAD if seed else 0, len(there.log) if seed else HEAD)
        end = max(end for end in (0, *ends(there.log)) if end <= at)
        found = await there.go_on(flipped(there.log, at))
        assert found == await there.go_on(there.log[:end])


@pytest.mark.parametrize("kind", ["zeros", "garbage", "old frames"])
async def test_what_follows_the_log_is_no_part_of_it(autojump_clock, tmp_path, kind):
    """Room that the disk gave and that was not written, or that has what was there before."""
    random = Random(2)
    async with stage() as it:
        there = await scene(it, tmp_path)
        more = {
            "zeros": bytes(3 * FRAME),
            "garbage": random.randbytes(3 * FRAME),
            "old frames": there.log[HEAD : HEAD + 5 * FRAME],
        }[kind]
        assert await there.go_on(there.log + more) == await there.go_on(there.log)
