"""docs/gateway.md is right: its commands exist, and its sessions run as they are typed.

A session is a section of the page. A block that begins with the name of a file in a comment is this
file, a block of `sh` is typed, and a server runs until the section ends.
"""

import os
import re
import signal
import socket
import subprocess
from decimal import Decimal

import attrs
import click
import pytest
import trustme
from documented import PAGE, ROOT, commands, python, sessions

from callsheet.actors import Response, Usage
from callsheet.cli import main
from callsheet.gateway import GatewaySettings
from callsheet.gateway.calls.response_headers import of_response
from callsheet.gateway.calls.wishes import DEADLINE_HEADER, PATIENCE_HEADER
from callsheet.gateway.operations import operation_routes
from callsheet.serving import ServingLimits

PORTS = ("4000", "4443", "8080")
LIMIT_S = 120
FILE = attrs.fields_dict(GatewaySettings)
PAGES = [PAGE, ROOT / "deploy" / "README.md"]


# ------------------------------------------------------------------ in the usual run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_command_and_option_of_a_page_exists(page):
    found = list(commands(page))
    assert len(found) > 3
    for arguments in found:
        check(main, "callsheet", arguments)


def check(command, name, arguments, parent=None):
    """Let click parse a command line; files that it names need not exist."""
    try:
        context = command.make_context(name, list(arguments), parent=parent)
    except (click.BadParameter, click.BadOptionUsage):
        return  # of a file that is not there, or an argument that a sentence leaves out
    except click.exceptions.Exit:
        return  # --help and --version
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if rest:
            name, found, after = command.resolve_command(context, rest)
            check(found, name, after, context)


def test_every_term_of_a_key_is_on_the_page():
    create = main.get_command(click.Context(main), "keys").commands["create"]
    others = {"store", "shared", "config", "as_json", "name"}
    text = PAGE.read_text()
    options = [param.opts[0] for param in create.params if param.name not in others]
    assert len(options) > 8
    assert [option for option in options if f"`{option}" not in text] == []


def test_every_path_for_those_who_run_a_gateway_is_on_the_page():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `GET ")]
    for route in operation_routes(None):
        assert any(f"{route.path}`" in row for row in rows), (
            f"the table of paths of docs/gateway.md should have {route.path}"
        )


def test_the_headers_of_the_page_are_those_of_the_gateway():
    full = Response(
        text="Hi",
        model="gpt-5.4-nano",
        usage=Usage(1, 1),
        finish_reason="stop",
        cost_usd=Decimal(1),
        request_id="req_1",
        http_requests=1,
        maybe_billed=1,
        fallback=1,
    )
    sent = {name.decode() for name, _ in of_response(full)}
    read = {PATIENCE_HEADER, DEADLINE_HEADER}
    documented = set(re.findall(r"`(x-callsheet-[a-z-]+)[`:]", PAGE.read_text()))
    assert documented - {"x-callsheet-estimated"} == sent | read


def test_the_bounds_of_the_page_are_the_defaults():
    text = PAGE.read_text()
    bounds = ServingLimits()
    for row in (
        f"| `max_connections` | {bounds.max_connections:,} |",
        f"| `max_body_bytes` | {bounds.max_body_bytes // 2**20} MiB |",
        f"| `max_header_bytes` | {bounds.max_header_bytes // 2**10} KiB |",
        f"`body_timeout_s` | {bounds.header_timeout_s:g}, {bounds.body_timeout_s:g} |",
        f"| `write_timeout_s` | {bounds.write_timeout_s:g} |",
        f"| `keep_alive_s` | {bounds.keep_alive_s:g} |",
    ):
        assert row in text
    assert f"`drain_s` seconds ({FILE['drain_s'].default:g})" in text
    assert f"`patience_s` of the file: {FILE['patience_s'].default:g} by default" in text


# ------------------------------------------------------------------ at length


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.mark.slow
@pytest.mark.sockets
@pytest.mark.parametrize("session", sessions(), ids=lambda session: session.title)
def test_a_session_runs_as_it_is_typed(session, tmp_path):
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))

    def moved(text):
        for documented, free in ports.items():
            text = text.replace(f":{documented}", f":{free}")
            text = text.replace(f" {documented}\n", f" {free}\n")
        return text

    for name, text in session.files.items():
        (tmp_path / name).write_text(moved(text))
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    environ = {
        "PATH": f"{python()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
    }
    with subprocess.Popen(
        ["bash", "-c", moved(session.script())],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    log = tmp_path / "server.log"
    assert process.returncode == 0, output + (log.read_text() if log.exists() else "")
