"""The sessions of docs/gateway.md: the files that a section shows, and what it types."""

import re
import shlex
import sys
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gateway.md"
FENCE = re.compile(r"^##+ ([^\n]+)\n|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:^|(?<=[\s(`])|(?<=bin/))callsheet ([a-z](?:\\\n|[^\n`|&)])*)", re.MULTILINE
)
SERVER = re.compile(r"^callsheet (?:serve|simulate)\b(?!.*--check)", re.MULTILINE)

PORT = "4000"  # of the page
PRELUDE = r"""
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
callsheet() { python -m callsheet "$@"; }

wait_for() { # the process of a server, and its port
    for _ in $(seq 300); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then return; fi
        if ! kill -0 "$1" 2>/dev/null; then break; fi
        sleep 0.1
    done
    cat server.log
    exit 1
}
"""


@attrs.frozen
class Session:
    """A section of the page.

    Args:
        title: its heading.
        files: {name: content} of the blocks that begin with the name in a comment.
        blocks: its blocks of commands, in order.
    """

    title: str
    files: dict
    blocks: tuple

    def script(self):
        """Return the commands as one script, in which servers run in the background."""
        return "\n".join([PRELUDE, *map(in_background, self.blocks)])


def in_background(block):
    """Return a block; if it starts a server, one that waits until this listens."""
    if not SERVER.search(block):
        return block
    *before, server = block.strip().splitlines()
    started = server.replace("callsheet", "python -m callsheet", 1)  # `kill` reaches no function
    if not server.endswith(".toml"):  # nothing says where to listen
        started += f" --listen 127.0.0.1:{PORT}"
    return "\n".join([*before, f"{started} >>server.log 2>&1 &", f"wait_for $! {PORT}\n"])


def sessions(path=PAGE):
    """Return the sections of a page that have commands."""
    found = [Session("", {}, ())]
    for title, language, text in FENCE.findall(path.read_text()):
        if title:
            found.append(Session(title, {}, ()))
        elif language == "sh":
            found[-1] = attrs.evolve(found[-1], blocks=(*found[-1].blocks, text))
        elif name := re.match(r"# ([\w.-]+)\n", text):
            found[-1].files[name[1]] = text
    return [session for session in found if session.blocks]


def commands(path):
    """Return the arguments of each `callsheet` command in a page."""
    text = path.read_text()
    code = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    code += "\n".join(re.findall(r"^ {4,}.*$", text, re.MULTILINE)) + "\n"
    code += "\n".join(re.findall(r"`(callsheet [^`]+)`", text)) + "\n"
    for line in COMMAND.findall(code):
        yield shlex.split(line.replace("\\\n", " "), comments=True)


def python():
    """The folder of the interpreter that runs the tests."""
    return Path(sys.executable).parent
