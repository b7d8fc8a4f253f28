"""The lines of an inspection socket: each is read as it was written, and others are refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import attrs
import pytest

from callsheet.actors import Reading
from callsheet.actors.inspection import readings
from callsheet.actors.inspection.lines import (
    InspectedProgram,
    ReadingRefused,
    UnreadableLine,
    read_program,
    read_reading,
    this_program,
    to_line,
)
from callsheet.actors.inspection.records import MAX_TEXT, shown
from callsheet.actors.typed.matching import matches_schema

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/schemas/reading.schema.json").read_text())


def example_of(kind):
    """Return a value of a type, with a value in each of its members."""
    if attrs.has(kind):
        return kind(**{name: example_of(one) for name, one in get_type_hints(kind).items()})
    of, parts = get_origin(kind), get_args(kind)
    if of is Sequence:
        return [example_of(parts[0])]
    if of is dict:
        return {example_of(parts[0]): example_of(parts[1])}
    if of is Literal:
        return parts[0]
    return example_of(parts[0]) if parts else {int: 2, float: 2.5, str: "text"}[kind]


@pytest.mark.parametrize("reading", [Reading(at=0.5), example_of(Reading)])
def test_a_reading_is_read_as_it_was_written_and_matches_the_schema(reading):
    line = to_line(reading)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert to_line(read_reading(line)) == line
    assert matches_schema(json.loads(line), SCHEMA)


def test_a_newer_member_is_ignored():
    line = json.dumps(json.loads(to_line(Reading(at=1.0))) | {"weather": "mild"}).encode()
    assert read_reading(line) == read_reading(to_line(Reading(at=1.0)))


def test_the_first_line_names_the_program_and_the_version():
    program = this_program()
    assert read_program(to_line(program)) == program
    assert json.loads(to_line(program))["callsheet"] == readings.FORMAT


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"220 mail.example ESMTP\r\n", "no inspection socket"),
        (b"\xff\xfe\n", "no inspection socket"),
        (b"{}\n", "no inspection socket"),
        (to_line(ReadingRefused(refused="16 readers are connected")), "16 readers are connected"),
        (to_line(InspectedProgram(callsheet=9, pid=7, program="x")), "process 7 .* version 9"),
    ],
)
def test_what_is_no_line_of_this_version_is_refused_with_a_reason(line, words):
    with pytest.raises(UnreadableLine, match=words):
        read_program(line)


def test_texts_are_bounded_and_have_no_secrets():
    """L8."""
    assert shown("a plain text") == "a plain text"
    assert shown("the key sk-abcdefgh12345678 is wrong") == "the key *** is wrong"
    assert len(shown("x" * 10_000)) == MAX_TEXT
    key = "sk-" + "a1" * 40
    assert key[:12] not in shown("x" * (MAX_TEXT - 12) + " " + key)
