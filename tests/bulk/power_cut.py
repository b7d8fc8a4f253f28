"""Simulate the possible contents of files after a power cut."""

import shutil

from callsheet.bulk.settings import Paths


def noise(random):
    """Return possible bytes of a file that was not synced."""
    kind = random.choice(["zeros", "garbage", "nothing"])
    size = random.randrange(1, 20_000)
    return {"zeros": bytes(size), "garbage": random.randbytes(size), "nothing": b""}[kind]


def cut(random, text):
    """Damage a file that was not synced: cut its end, fill it with zeros, or remove the file."""
    kind, at = random.choice(["short", "zeros", "gone", "whole"]), random.randrange(len(text) + 1)
    return {
        "short": text[:at],
        "zeros": text[:at] + bytes(len(text) - at),
        "gone": None,
        "whole": text,
    }[kind]


def log_of(store):
    """Return the path of SQLite's write-ahead log of the store."""
    return store.with_name(f"{store.name}-wal")


def cut_off(random, output, folder):
    """Leave what the disk may have after a power cut at this moment; the store is synced."""
    folder.mkdir()
    there, paths = Paths(folder / output.name), Paths(output)
    shutil.copy(paths.store, there.store)
    log_of(there.store).write_bytes(log_of(paths.store).read_bytes() + noise(random))
    for file, copy in ((paths.output, there.output), (paths.errors, there.errors)):
        if file.exists() and (text := cut(random, file.read_bytes())) is not None:
            copy.write_bytes(text)
