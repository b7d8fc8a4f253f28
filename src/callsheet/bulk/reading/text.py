"""Find the encoding of a text, and read the text as UTF-8, in lines.

UTF-8 is assumed as long as the text is valid, or nearly so: a few bad bytes are damage, and their
rows are reported. Otherwise charset-normalizer ranks the encodings that spreadsheets and databases
write; what it leaves open is decided by the letters within words and by the script.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, final

from .errors import BROKEN, BadLine, cannot_read_on

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

UTF_8 = "utf-8"

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of encodings that decode a text alike, the first one is named.
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")
_OTHERS = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874", "mac_roman", "cp850")
_OF_TWO_BYTES = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
_RUN = re.compile(rb"[\x80-\xff]+")
_APOSTROPHES = "'\u2018\u2019-\xad"
_ENOUGH_LINES = 1000  # lines with other characters than ASCII that decide
_ENOUGH_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024
_INNER = bytes(range(0x80, 0xC0))  # of a character in UTF-8, with which a part of a line may begin
_SIMILAR = 0.05  # of the share of a language's usual letters, from 0 to 1
_KANA_SHARE, _HANGUL_SHARE = 0.2, 0.95  # of the letters of a text in Japanese, in Korean

INVALID_BYTE = 0xFF
"""What a byte becomes in UTF-8 that the encoding of the text does not have."""

_ERRORS = "callsheet.invalid"
_BOM = b"\xef\xbb\xbf"
_SKIPPED_BYTES = 64 * 1024  # at a time, of a line that is too long
_SHOWN = 200  # characters of a line


def _kept_invalid(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return bytes([INVALID_BYTE]).decode(errors="surrogateescape"), error.end


codecs.register_error(_ERRORS, _kept_invalid)


def encoding_of(head: bytes, pieces: Iterable[bytes]) -> str:
    """Return the encoding of a text, by its byte order mark or by its content.

    Args:
        head: the beginning of the text.
        pieces: the text in pieces; only as many are read as are needed.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if head[1:2] == b"\0" != head[:1] and head[3:4] in (b"\0", b""):
        return "utf-16-le"
    if head[:1] == b"\0" != head[1:2] and head[2:3] in (b"\0", b""):
        return "utf-16-be"
    valid, invalid = _sampled(pieces)
    if len(invalid) <= valid:
        return UTF_8
    return _ranked_first(b"".join(invalid)[:_ENOUGH_BYTES])


def _sampled(pieces: Iterable[bytes]) -> tuple[int, list[bytes]]:
    """Count the lines that are UTF-8 beyond ASCII, and return those that are not UTF-8."""
    valid, size = 0, 0
    invalid: list[bytes] = []
    rest = b""
    for piece in pieces:
        begun, end, after = (rest + piece).rpartition(b"\n")
        text, rest = begun + end, after
        if len(rest) >= _PIECE_BYTES:  # a long line is judged in parts rather than held
            text, rest = text + rest, b""
        if not text.isascii():
            good, bad = _judged(text.splitlines(keepends=True))
            valid += good
            invalid += bad
            size += sum(map(len, bad))
        if valid + len(invalid) >= _ENOUGH_LINES or size >= _ENOUGH_BYTES:
            return valid, invalid
    good, bad = _judged([rest])
    return valid + good, invalid + bad


def _judged(lines: Iterable[bytes]) -> tuple[int, list[bytes]]:
    valid, invalid = 0, list[bytes]()
    for line in lines:
        if line.isascii():
            continue
        try:
            line.lstrip(_INNER).decode()
            valid += 1
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and line[-1:] != b"\n":  # it was cut
                valid += 1
            else:
                invalid.append(line)
    return valid, invalid


def _ranked_first(sample: bytes) -> str:
    from charset_normalizer import from_bytes  # noqa: PLC0415  # rarely needed, and slow to load

    # Letters with accents stand alone, between others.
    runs = [len(run) for run in _RUN.findall(sample)]
    of_two_bytes = () if 2 * runs.count(1) > sum(runs) else _OF_TWO_BYTES
    found = from_bytes(sample, cp_isolation=[*_LATIN, *_OTHERS, *of_two_bytes])
    ranked: dict[str, float] = {}
    for match in found:
        for name in match.could_be_from_charset:
            ranked.setdefault(name, match.coherence)
    if not ranked:
        return "cp1252"
    first = next(iter(ranked))
    if first in _LATIN:
        likely = [it for it in _LATIN if ranked.get(it, -1.0) >= ranked[first] - _SIMILAR]
        return next((it for it in (*likely, *ranked) if _has_whole_words(sample, it)), first)
    return next((name for name in ranked if _has_script(sample, name)), first)


def _has_whole_words(sample: bytes, encoding: str) -> bool:
    """Return whether no sign such as a superscript stands between two letters."""
    text = sample.decode(encoding, errors="replace")
    return not any(
        not char.isascii() and not char.isalpha() and char not in _APOSTROPHES
        for before, char, after in zip(text, text[1:], text[2:], strict=False)
        if before.isalpha() and after.isalpha()
    )


def _has_script(sample: bytes, encoding: str) -> bool:
    """Return whether a text in Japanese has kana, and one in Korean hardly any but usual Hangul."""
    text = sample.decode(encoding, errors="replace")
    letters = [char for char in text if not char.isascii() and char.isalpha()]
    if encoding in ("cp932", "euc_jp"):
        kana = sum(
            unicodedata.name(char, "").startswith(("HIRAGANA", "KATAKANA")) for char in letters
        )
        return kana >= _KANA_SHARE * len(letters)
    if encoding == "cp949":
        usual = (char for char in letters if len(char.encode("euc_kr", errors="ignore")) == 2)  # noqa: PLR2004  # rare syllables take 8 bytes
        hangul = sum(unicodedata.name(char, "").startswith("HANGUL") for char in usual)
        return hangul >= _HANGUL_SHARE * len(letters)
    return True


def in_order(encoding: str, head: bytes) -> str:
    """Return an encoding with an order of bytes, if it needs one that the text does not state.

    Args:
        encoding: the name of the encoding.
        head: the beginning of the text.
    """
    name = codecs.lookup(encoding).name
    has_mark = any(head.startswith(mark) for mark, _ in _MARKS)
    return name if has_mark or name not in ("utf-16", "utf-32") else f"{name}-le"


def recoded(stream: BinaryIO, encoding: str, *, ends_in_cr: bool) -> BinaryIO:
    """Return a stream of the same text in UTF-8. Bytes that the encoding lacks stay invalid.

    Args:
        stream: the text in its encoding.
        encoding: the name of the encoding, as Python has it.
        ends_in_cr: True to make a newline of each carriage return.
    """
    return io.BufferedReader(_Recoded(stream, encoding, ends_in_cr=ends_in_cr), _PIECE_BYTES)


@final
class _Recoded(io.RawIOBase):
    """A text in UTF-8 that is read from one in another encoding."""

    def __init__(self, stream: BinaryIO, encoding: str, *, ends_in_cr: bool) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_ERRORS)
        self._ends_in_cr = ends_in_cr
        self._ready = b""
        self._is_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        while not self._ready and not self._is_end:
            piece = read_some(self._stream, _PIECE_BYTES)
            self._is_end = not piece
            text = self._decoder.decode(piece, final=self._is_end)
            if self._ends_in_cr:
                text = text.replace("\r", "\n")
            self._ready = text.encode(errors="surrogateescape")
        data = self._ready[: len(view)]
        self._ready = self._ready[len(data) :]
        view[: len(data)] = data
        return len(data)


def read_some(stream: BinaryIO, size: int) -> bytes:
    """Read what a pipe has now, rather than wait for all of it; b"" at the end."""
    read1 = getattr(stream, "read1", stream.read)
    data: bytes = read1(size)
    return data


def lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | BadLine]]:
    """Yield the number of each line, from 1, and the line with its line end.

    A line that is too long is skipped piece by piece and becomes a `BadLine`. An error of the
    stream becomes a last `BadLine`.
    """
    number = 0
    try:
        while line := stream.readline(max_bytes + 1):
            number += 1
            if number == 1 and line.startswith(_BOM):
                line = line[len(_BOM) :]
            if len(line) > max_bytes and line[-1:] != b"\n":
                yield number, _passed_over(stream, line, max_bytes)
            else:
                yield number, line
    except BROKEN as error:
        yield number + 1, BadLine(cannot_read_on(error, "line"))


def _passed_over(stream: BinaryIO, begun: bytes, max_bytes: int) -> BadLine:
    text, size, quotes = shown(begun), len(begun), begun.count(b'"')
    del begun  # free its memory: it has the maximum length
    while piece := stream.readline(_SKIPPED_BYTES):
        size += len(piece)
        quotes += piece.count(b'"')
        if piece[-1:] == b"\n":
            break
    reason = f"the line has {size:,} bytes; the maximum (max_line_bytes) is {max_bytes:,}"
    return BadLine(reason, text, bool(quotes % 2))


def not_utf8(line: bytes) -> str | None:
    """Return what is wrong with the encoding of a line; None if it is valid UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        at = error.start
        if line[at] == INVALID_BYTE:
            return f"byte {at + 1} of the line is not of the encoding of the input"
        return f"byte {at + 1} of the line, 0x{line[at]:02x}, is not UTF-8 ({error.reason})"
    return None


def shown(line: bytes | str) -> str:
    """Return the beginning of a line."""
    if isinstance(line, bytes):
        line = line[:_SHOWN].decode(errors="replace")
    return line[:_SHOWN].rstrip("\r\n")
