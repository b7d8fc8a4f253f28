"""Each file of a run, damaged in each state, on each route: reported, and nothing is bought twice.

A continuation either is refused before anything is sent, with one line, or does what it does with
whole files. The tests use the virtual clock, for which the journal is written without threads.
"""

import shutil
from random import Random

import attrs
import pytest
import trio
from bulk_rows import ids_of, row, stage
from power_cut import log_of
from trio.testing import MockClock

from callsheet.actors import StorageError
from callsheet.actors.batch_api import journal
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.bulk.errors import BulkRefused, BulkStopped
from callsheet.bulk.settings import Paths

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

ROWS, MANY = 16, 40
DAY_S = 86_400.0
ROUTES = {
    "live": {"route": "live"},
    "pack": {"route": "pack"},
    "auto": {"route": "auto"},
    "auto, by batches": {"route": "auto", "deadline_s": DAY_S},
    "batch": {"route": "batch"},
}
NAMES = {
    "store": lambda paths: paths.store,
    "log of the store": lambda paths: log_of(paths.store),
    "journal": lambda paths: paths.batches,
    "log of the journal": lambda paths: log_of(paths.batches),
}
CUTS = ("empty", "a byte", "half", "all but a byte")
USUAL = ("live", "auto, by batches")  # without a journal, and with one
ALL_ROUTES = [pytest.param(it, marks=[] if it in USUAL else [pytest.mark.slow]) for it in ROUTES]


def rows(count=ROWS):
    return [row(number) for number in range(1, count + 1)]


@attrs.frozen
class Scene:
    """The files of a run in one state.

    Args:
        stage: the provider.
        folder: the files, as a process that is killed leaves them.
        told: the ids of the rows in OUTPUT.
        rows: the rows of the run.
    """

    stage: object
    folder: object
    told: frozenset
    rows: list

    @property
    def sent(self):
        """The number of rows that the provider has worked on."""
        stats = self.stage.provider.stats
        return stats.requests + stats.batch_lines

    async def go_on(self, damage=lambda _: None, *, route="live"):
        """Continue with damaged files; return what was sent, and the refusal if there was one."""
        shutil.rmtree(after := self.folder.with_name("after"), ignore_errors=True)
        shutil.copytree(self.folder, after)
        output = after / "out.jsonl"
        damage(Paths(output))
        before = {path.name: path.read_bytes() for path in after.iterdir()}
        sent_before = self.sent
        refused = None
        try:
            await self.stage.run(self.rows, output, keep=True, **settings(output, route))
        except* (BulkRefused, BulkStopped, StorageError) as errors:
            refused = str(errors.exceptions[0])
        sent = self.sent - sent_before
        if refused is None:
            assert sorted(ids_of(output)) == sorted(one.custom_id for one in self.rows)
        else:
            assert sent == 0, refused
            assert "\n" not in refused
            kept = {path.name: path.read_bytes() for path in after.iterdir()}
            assert kept[output.name] == before[output.name]
        return sent, refused


def settings(output, route):
    troupe = {"batches": BatchApiPolicy(journal=Paths(output).batches)}
    return ROUTES[route] | ({"troupe": troupe} if "batch" in route else {})


async def scene(it, folder, state, *, count=ROWS):
    """Make the files of a run that is killed in a state."""
    output, cut, told = folder / "out.jsonl", folder / "cut", set()

    def copy():
        cut.mkdir()
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, cut)

    def look(ended):
        told.add(ended.custom_id)
        if len(told) == count * 5 // 8 and not cut.exists() and state == "half":
            copy()

    if state == "in batches":
        async with it.open(rows(count), output, keep=True, **settings(output, "batch")) as run:
            await trio.sleep(5.0)  # in which the batch is created
            assert it.provider.stats.batches
            copy()
            run.drain()
    else:
        await it.run(rows(count), output, observers=[look], keep=True)
        if state == "done":
            copy()
    return Scene(it, cut, frozenset(ids_of(cut / "out.jsonl")), rows(count))


def flips(path, count, seed):
    """Return functions that change one bit of a file."""
    random = Random(seed)
    size = path.stat().st_size

    def flip(at, bit):
        def change(file):
            whole = bytearray(file.read_bytes())
            whole[at] ^= bit
            file.write_bytes(whole)

        return change

    return [flip(random.randrange(size), 1 << random.randrange(8)) for _ in range(count)]


def cut(kind):
    def change(file):
        whole = file.read_bytes()
        ends = {"empty": 0, "a byte": 1, "half": len(whole) // 2, "all but a byte": len(whole) - 1}
        file.write_bytes(whole[: ends[kind]])

    return change


def swapped(other):
    return lambda file: shutil.copy(other, file)


STATES = {
    "half": ("store", "log of the store"),
    "done": ("store",),
    "in batches": ("store", "log of the store", "journal", "log of the journal"),
}
CASES = [(state, name) for state, names in STATES.items() for name in names]


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """The folder of another run, which is in batches."""

    async def make():
        async with stage() as it:
            return (await scene(it, tmp_path_factory.mktemp("strange"), "in batches")).folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "in_worker_thread", journal.in_place)
        return trio.run(make, clock=MockClock(autojump_threshold=0))


def is_usual(state, name, route):
    """Return whether the usual tests have a case: a store is looked at before the route matters."""
    by_batches = state == "in batches" and (name != "store" or route == "live")
    return route in USUAL and (by_batches or (state != "in batches" and route == "live"))


@pytest.mark.parametrize(
    ("state", "name", "route"),
    [
        pytest.param(*case, route, marks=[] if is_usual(*case, route) else pytest.mark.slow)
        for case in CASES
        for route in ROUTES
    ],
)
async def test_a_file_that_is_cut_or_swapped_stops_the_run(
    autojump_clock, tmp_path, strange, *, state, name, route
):
    paths = Paths(strange / "out.jsonl")
    async with stage() as it:
        there = await scene(it, tmp_path, state)
        whole, _ = await there.go_on(route=route)
        swaps = {  # files of another kind
            "store": [paths.batches, paths.output],
            "log of the store": [paths.output],
            "journal": [paths.store, paths.output],
            "log of the journal": [paths.output],
        }[name]
        for change in [*map(cut, CUTS), *map(swapped, swaps)]:
            sent, refused = await there.go_on(
                lambda files, change=change: change(NAMES[name](files)), route=route
            )
            if refused is None:
                # A log may make up for its file; a last transaction may be lost, as in a power cut.
                assert state != "done"
                assert sent <= whole


@pytest.mark.parametrize("state", ["half", "done"])
@pytest.mark.parametrize("route", ALL_ROUTES)
async def test_the_store_of_another_run_or_of_earlier_is_refused(
    autojump_clock, tmp_path, state, route
):
    """It has none of the responses that OUTPUT has."""
    async with stage() as it:
        there = await scene(it, tmp_path, state)
        other = tmp_path / "other.jsonl"
        await it.run([row(number, "Else.") for number in range(100, 120)], other, keep=True)

        def swap(files):
            log_of(files.store).unlink(missing_ok=True)
            shutil.copy(Paths(other).store, files.store)

        sent, refused = await there.go_on(swap, route=route)
        assert sent == 0
        assert "it is an earlier copy, or of another run" in refused or state == "done"
        assert f"{len(there.told)} responses of out.jsonl are not" in refused or state == "half"


@pytest.mark.parametrize("has_reserve", [True, False])
async def test_the_log_that_a_killed_run_leaves_may_not_be_lost(
    autojump_clock, tmp_path, *, has_reserve
):
    """The reserve tells of it, or else the responses in OUTPUT."""

    def damage(files):
        log_of(files.store).unlink()
        if not has_reserve:
            files.reserve.unlink()

    async with stage() as it:
        there = await scene(it, tmp_path, "half")
        _, refused = await there.go_on(damage)
    if has_reserve:
        assert "it lacks responses that a run had stored before it was killed" in refused
        assert refused.endswith("remove out.jsonl.callsheet-reserve")
    else:
        assert "responses of out.jsonl are not in it; it is damaged, an earlier copy" in refused


async def test_a_store_and_output_that_are_moved_away_leave_nothing_to_refuse(
    autojump_clock, tmp_path
):
    """This is what a refusal asks for."""

    def move(files):
        for file in (files.store, log_of(files.store)):
            file.unlink()
        files.output.write_bytes(b"")

    async with stage() as it:
        there = await scene(it, tmp_path, "half")
        sent, refused = await there.go_on(move)
    assert (sent, refused) == (ROWS, None)


async def test_an_errors_file_of_another_origin_is_not_overwritten(autojump_clock, tmp_path):
    output = tmp_path / "out.jsonl"
    errors = Paths(output).errors
    errors.write_text("my notes\n")
    async with stage() as it:
        with pytest.raises(BulkRefused, match="Callsheet did not write that file; move the file"):
            await it.run(rows(), output)
        assert it.requests == 0
    assert errors.read_text() == "my notes\n"


async def flipped(there, name, route, *, count):
    """Continue with many flips of one file, and return how many of them were reported."""
    whole, _ = await there.go_on(route=route)
    path = NAMES[name](Paths(there.folder / "out.jsonl"))
    reported = 0
    for change in flips(path, count, f"{name} {route}"):
        sent, refused = await there.go_on(
            lambda files, change=change: change(NAMES[name](files)), route=route
        )
        reported += refused is not None
        assert sent <= whole
    return reported


@pytest.mark.parametrize(("state", "name"), CASES)
async def test_a_bit_that_is_changed_is_reported_or_harmless(autojump_clock, tmp_path, state, name):
    async with stage() as it:
        reported = await flipped(await scene(it, tmp_path, state), name, "live", count=8)
    assert reported or (name == "store" and state != "done")  # its log has all of it


@pytest.mark.slow
@pytest.mark.parametrize(("state", "name"), CASES)
@pytest.mark.parametrize("route", ROUTES)
async def test_many_bits_that_are_changed_are_reported_or_harmless(
    autojump_clock, tmp_path, state, name, route
):
    async with stage() as it:
        there = await scene(it, tmp_path, state, count=MANY)
        reported = await flipped(there, name, route, count=150)
    # The log of the store has all of its file, and the file of the journal all of its log.
    assert reported > 30 or name == "log of the journal" or (name == "store" and state != "done")
