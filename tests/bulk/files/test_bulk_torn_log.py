"""A store with a damaged end of its log: intact transactions count, the other rows are sent again.

A disk that ignores a sync leaves such a log, and so may a power cut with `fsync="normal"`.
"""

import shutil
from random import Random

import attrs
import pytest
from bulk_rows import bodies, ids_of, row, stage
from power_cut import log_of

from callsheet.bulk.settings import Paths

ROWS, CUT_AT = 20, 12
HEAD, FRAME_HEAD, PAGE = 32, 24, 4096
FRAME = FRAME_HEAD + PAGE


def rows():
    return [row(number) for number in range(1, ROWS + 1)]


@attrs.frozen
class Scene:
    """The state of the disk in the middle of a run.

    Args:
        stage: the provider, which has received each row once.
        folder: the folder of the files.
        log: the store's log.
        told: the ids of the rows that were reported by then.
        answers: the lines that the whole run has written, by id.
    """

    stage: object
    folder: object
    log: bytes
    told: frozenset
    answers: dict

    async def go_on(self, log, *, ordered=True):
        """Resume with another log, and return the ids of the rows that were not sent again."""
        shutil.rmtree(after := self.folder.with_name("after"), ignore_errors=True)
        shutil.copytree(self.folder, after)
        output, found = after / "out.jsonl", set()
        log_of(Paths(output).store).write_bytes(log)
        before = self.stage.requests
        self.stage.wall_s += 60  # so that a repeated response has a different line
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
    """A run whose files are copied when a given number of rows was reported."""
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
    """Return the offsets at which the frames of the log end."""
    return range(HEAD, len(log) + 1, FRAME)


async def test_a_whole_log_has_all_reported_rows(autojump_clock, tmp_path):
    async with stage() as it:
        there = await scene(it, tmp_path)
        assert (len(there.log) - HEAD) % FRAME == 0
        assert len(ends(there.log)) > 10
        assert await there.go_on(there.log) >= there.told


@pytest.mark.slow
async def test_a_log_that_is_torn_anywhere_has_what_was_whole(autojump_clock, tmp_path):
    """A longer log has more rows, and never half a transaction."""
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
@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))]
)
async def test_a_byte_that_is_rotten_in_the_last_frame_takes_it_away(
    autojump_clock, tmp_path, seed, ordered
):
    """SQLite's checksums detect it: earlier rows are kept, and the frame's rows are sent again."""
    random = Random(seed)
    async with stage() as it:
        there = await scene(it, tmp_path, ordered=ordered)
        # In its head: page, size, salts and checksums; in its page: any byte.
        at = seed if seed % 2 else random.randrange(FRAME_HEAD, FRAME)
        log = flipped(there.log, len(there.log) - FRAME + at, 1 << random.randrange(8))
        found = await there.go_on(log, ordered=ordered)
        whole = await there.go_on(there.log, ordered=ordered)
    assert found < whole


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 6))]
)
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
    """Allocated space that was not written, or that has old contents."""
    random = Random(2)
    async with stage() as it:
        there = await scene(it, tmp_path)
        more = {
            "zeros": bytes(3 * FRAME),
            "garbage": random.randbytes(3 * FRAME),
            "old frames": there.log[HEAD : HEAD + 5 * FRAME],
        }[kind]
        assert await there.go_on(there.log + more) == await there.go_on(there.log)
