"""Check what a run checks before it sends anything, for a dry run: no file is made or changed."""

import errno
import os
from pathlib import Path

from ..actors import (
    JournalOwner,
    SharedStores,
    StorageError,
    TroupeSettings,
    check_environment,
    cost_bound,
    write_remedy,
)
from .engine.routing import RunJournal, plan_run
from .errors import ANOTHER_OUTPUT, BulkRefused
from .files.known import KnownKeys
from .files.output import JSON_LINES, not_writable
from .files.place import check_beside, check_has_all, check_new, check_place, check_provider
from .reading.settings import ReadSettings
from .settings import BulkSettings, Paths
from .tables.table_file import TableFormat, is_table


def check_start(
    output: Path,
    known: KnownKeys,
    troupe: TroupeSettings,
    settings: BulkSettings,
    *,
    provider: str,
    reading: ReadSettings,
) -> None:
    """Refuse what `bulk` would refuse before it opens the troupe.

    Args:
        output: the path of OUTPUT.
        known: the store of earlier runs.
        troupe: the settings of the troupe.
        settings: the settings of the run.
        provider: the stable name of the provider.
        reading: the settings that the rows are read with.

    Raises:
        BulkRefused: the run would be refused.
        ValueError: the environment names a proxy or authorities that cannot be used.
    """
    form = TableFormat(output, reading.returns) if is_table(output) else JSON_LINES
    paths = Paths(output)
    try:
        check_place(output)
        _check_folder(output)
        check_new(paths, form)
        check_provider(output, known.provider, provider, settings)
        if paths.store.exists():
            check_has_all(paths, form, known, settings.fsync)
        check_beside(paths, form)
    except OSError as error:
        raise not_writable(output, error) from None
    for used in (troupe.endpoint, *(target.endpoint for target in troupe.fallbacks)):
        for endpoint in used.each:
            check_environment(endpoint)
    owner = known.owner or JournalOwner("", is_new=True)
    account = known.spend.priced(cost_bound(troupe).usd_of_tokens)
    journal = RunJournal(paths.batches, owner, is_dry=True)
    plan_run(troupe, settings, account, journal, output.name)


def _check_folder(output: Path) -> None:
    """Check that the files of a new run can be made.

    Raises:
        BulkRefused: the folder may not be written.
    """
    folder = output.resolve().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        place = f"the run store {Paths(output).store} cannot be used"  # a run makes it first
        raise BulkRefused(
            f"{output} cannot be written: {place}: {error.strerror}",
            write_remedy(error) or ANOTHER_OUTPUT,
        )


async def check_shared(stores: SharedStores) -> None:
    """Ask the server of a shared run whether it can be used.

    Raises:
        BulkRefused: it cannot.
    """
    try:
        await stores.check()
    except StorageError as error:
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", error.remedy) from None
