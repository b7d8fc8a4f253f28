"""A response of a batch is in the journal until it is in the store, without a gap (L7).

The tests use the virtual clock and a disk whose writes take time.
"""

import shutil

import attrs
import pytest
import trio
from bulk_rows import ids_of, on_the_spot, row, stage

from callsheet.actors import Endpoint, TroupeSettings
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.bulk import bulk
from callsheet.bulk.settings import BulkSettings

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

ROWS, WINDOW = 15, 5


def rows():
    return [row(number) for number in range(1, ROWS + 1)]


@attrs.define
class SlowDisk:
    """Copies the folder of a run before each write of the run.

    Args:
        folder: the folder of the run.
        copies: the folder for the copies, which are named by number.
        stage: the provider.

    Attributes:
        sent: the number of lines that the provider had received, by the number of the copy.
    """

    folder: object
    copies: object
    stage: object
    sent: list = attrs.field(factory=list)

    async def __call__(self, function, /, *, abandon_on_cancel=False, limiter=None):
        await trio.sleep(0.01)
        self.copy()
        return await on_the_spot(function, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

    def copy(self):
        shutil.copytree(self.folder, self.copies / str(len(self.sent)))
        self.sent.append(self.stage.provider.stats.batches * WINDOW)


def open_run(it, folder, in_thread):
    policy = BatchApiPolicy(journal=folder / "journal")
    troupe = TroupeSettings(
        endpoint=Endpoint("http://provider/v1", None, "openai"),
        transport=it.transport,
        batches=policy,
    )
    settings = BulkSettings(route="batch", window_rows=WINDOW)
    return bulk(rows(), folder / "out.jsonl", troupe, settings, in_thread=in_thread)


async def test_whenever_a_process_dies_no_answer_of_a_batch_is_asked_for_again(
    autojump_clock, tmp_path
):
    folder, copies = tmp_path / "run", tmp_path / "copies"
    folder.mkdir()
    copies.mkdir()
    async with stage() as it:
        disk = SlowDisk(folder, copies, it)
        async with open_run(it, folder, disk) as run:
            await run.wait()
        assert it.provider.stats.batch_lines == ROWS
        assert set(disk.sent) == {0, 5, 10, 15}
        lost = {}
        for number in some_of(disk.sent):
            sent = disk.sent[number]
            before = it.provider.stats.batch_lines
            copy = copies / str(number)
            async with open_run(it, copy, on_the_spot) as run:
                await run.wait()
            assert ids_of(copy / "out.jsonl") == [one.custom_id for one in rows()]
            lost[number] = it.provider.stats.batch_lines - before - (ROWS - sent)
    assert len(lost) > 10
    assert lost == dict.fromkeys(lost, 0)


def some_of(sent):
    """Return every fourth copy, and the first and the last two of each number of lines sent."""
    changes = [at for at in range(1, len(sent)) if sent[at] != sent[at - 1]]
    near = {at + by for at in (0, *changes, len(sent)) for by in (-2, -1, 0)}
    return sorted({*range(0, len(sent), 4), *near} & set(range(len(sent))))
