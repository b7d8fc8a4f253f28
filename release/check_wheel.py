"""Check that a wheel has each file of the package, its licences, and nothing else.

Usage: `python release/check_wheel.py dist/callsheet-0.2.0-py3-none-any.whl`.
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_REPOSITORY = Path(__file__).resolve().parent.parent
# {folder of the repository: its place in the wheel}; two of src/callsheet are links to the others
_PLACES = {
    "src/callsheet": "callsheet",
    "actors": "callsheet/actors",
    "runtime": "callsheet/runtime",
}
_LICENCES = ("LICENSE", "actors/data/LICENSE.genai-prices")


def faults(wheel: Path) -> Iterator[str]:
    """Yield what is wrong with a wheel, a sentence each.

    Args:
        wheel: the path of the wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = {PurePosixPath(name) for name in archive.namelist()}
    metadata = {name for name in names if name.parts[0].endswith(".dist-info")}
    wanted = set(_files())
    for name in sorted(wanted - names):
        yield f"{name} is missing"
    for name in sorted(names - metadata - wanted):
        yield f"{name} is no file of the package"
    inside = {str(PurePosixPath(*name.parts[1:])) for name in metadata}
    for licence in _LICENCES:
        if f"licenses/{licence}" not in inside:
            yield f"the licence {licence} is missing"


def _files() -> Iterator[PurePosixPath]:
    for folder, place in _PLACES.items():
        root = _REPOSITORY / folder
        for path in root.rglob("*"):
            part = path.relative_to(root)
            is_linked = folder == "src/callsheet" and part.parts[0] in ("actors", "runtime")
            if path.is_file() and "__pycache__" not in part.parts and not is_linked:
                yield PurePosixPath(place, *part.parts)


def main() -> None:
    """Check the wheel that the command line names, and exit with 1 if something is wrong."""
    (wheel,) = sys.argv[1:]
    found = list(faults(Path(wheel)))
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
