"""The lines of an inspection socket: first the program, then a reading for each request. Pure.

Each line is one JSON object. A reader sends an empty line for the next reading; the first one comes
without being asked for. `docs/schemas/reading.schema.json` is the schema of a reading.
"""

import os
import sys
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from .readings import FORMAT, Reading
from .records import shown

T = TypeVar("T")


class UnreadableLine(Exception):
    """A line is not what an inspection socket of this version writes."""


@attrs.frozen(kw_only=True)
class InspectedProgram:
    """The first line of an inspection socket: which program it is.

    Args:
        callsheet: the version of the form of its readings.
        pid: the id of the process.
        program: the name of the file that was started.
    """

    callsheet: int
    pid: int
    program: str


@attrs.frozen(kw_only=True)
class ReadingRefused:
    """The only line of a connection that the program refuses.

    Args:
        refused: why, as a sentence.
    """

    refused: str


def this_program() -> InspectedProgram:
    """Return the first line of a socket of this process."""
    started = Path(sys.argv[0] if sys.argv else "")
    is_package = started.name == "__main__.py"  # as of python -m
    name = started.parent.name if is_package else started.name
    return InspectedProgram(callsheet=FORMAT, pid=os.getpid(), program=shown(name))


def to_line(value: InspectedProgram | ReadingRefused | Reading) -> bytes:
    """Return a line of JSON, which ends with a line feed.

    Args:
        value: what the line states.
    """
    return msgspec.json.encode(value) + b"\n"


def read_program(line: bytes) -> InspectedProgram:
    """Read the first line of a socket.

    Args:
        line: the bytes of the line.

    Raises:
        UnreadableLine: the program refuses the connection, or writes another form of readings, or
            is no program of Callsheet; the message says which.
    """
    try:
        refusal = msgspec.json.decode(line, type=ReadingRefused)
    except msgspec.MsgspecError:
        program = _decoded(line, InspectedProgram)
    else:
        raise UnreadableLine(refusal.refused)
    if program.callsheet != FORMAT:
        raise UnreadableLine(
            f"process {program.pid} writes version {program.callsheet} of readings, and this is "
            f"version {FORMAT}: use the callsheet of that program"
        )
    return program


def read_reading(line: bytes) -> Reading:
    """Read a line with a reading.

    Args:
        line: the bytes of the line.

    Raises:
        UnreadableLine: it is no reading.
    """
    return _decoded(line, Reading)


def _decoded(line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableLine("what answers there is no inspection socket of Callsheet") from error
