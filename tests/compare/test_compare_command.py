import json
import signal
import subprocess
import sys

import pytest
import trio
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from local_provider import URL, lower_bound_of, running_provider

from callsheet.cli.compare import compare as command
from callsheet.compare.comparison import Comparison, ProviderNotStarted, compare, open_provider
from callsheet.compare.modes import MODES
from callsheet.compare.run import run_mode
from callsheet.compare.workloads import make_workload


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--workload", "novels"], "'novels' is not one of"),
        (["--time-scale", "0"], "0 is not in the range"),
        (["--time-scale", "11"], "11.0 is not in the range"),
        (["--seed", "x"], "'x' is not a valid integer"),
        (["--plot", "figures.gif"], "figures.gif must end in one of .png, .svg, .pdf"),
        (["--plot", "no/such/folder/figures.png"], "the folder no/such/folder does not exist"),
        (["--modes", "staged,threads"], "at most once"),
        (["--modes", "staged,staged"], "at most once"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(arguments, complaint):
    found = CliRunner().invoke(command, arguments)
    assert found.exit_code == 2
    assert complaint in found.stderr
    assert found.stdout == ""


def test_a_plot_without_matplotlib_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = CliRunner().invoke(command, ["--plot", "figures.png"])
    assert found.exit_code == 1
    assert found.stderr == (
        "Error: --plot needs Matplotlib; install the extra 'plot': in the clone, run "
        "uv sync --inexact --extra plot, or pip install '.[plot]'\n"
    )


@pytest.mark.sockets
def test_stdout_has_only_the_json_and_the_picture_is_drawn(tmp_path):
    picture = tmp_path / "figures.svg"
    arguments = ["--time-scale", "0.01", "--json", "--plot", str(picture)]
    found = CliRunner().invoke(command, arguments)
    assert found.exit_code == 0
    figures = json.loads(found.stdout)
    assert found.stdout.count("\n") == 1
    assert list(figures) == ["workload", "critical_path_s", "modes"]
    assert figures["workload"] == "post"
    assert tuple(figures["modes"]) == MODES
    for mode in figures["modes"].values():
        assert mode["http_requests"] == 11
        assert mode["rejected"] == 0
        assert mode["wall_s"] >= mode["p99_s"] == mode["p50_s"] >= figures["critical_path_s"]
    assert found.stderr == "".join(f"Running {mode}\n" for mode in MODES)
    assert "<svg" in picture.read_text(encoding="utf-8")


def test_the_table_has_the_modes_that_were_asked_for(monkeypatch):
    async def measured(workload, *, seed, time_scale, modes, watch):
        """Run without a provider in a process of its own, which takes long to start."""
        lower_bound = await lower_bound_of(workload, seed=seed, time_scale=time_scale)
        async with running_provider(seed=seed, time_scale=time_scale) as (_, transport):
            results = {
                mode: await run_mode(
                    mode, workload, URL, time_scale=time_scale, transport=transport
                )
                for mode in modes
            }
        return Comparison(
            workload=workload, time_scale=time_scale, lower_bound=lower_bound, modes=results
        )

    monkeypatch.setattr("callsheet.cli.compare.run_ways", measured)
    found = CliRunner().invoke(command, ["--time-scale", "0.01", "--modes", "staged,callsheet"])
    assert found.exit_code == 0
    firsts = [line.strip().partition(" ")[0] for line in found.stdout.splitlines()]
    assert [first for first in firsts if first in MODES] == ["staged", "callsheet"]
    assert "critical path is 4 of 11 calls" in found.stdout.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.sockets
async def test_sequential_makes_an_item_s_calls_one_after_another():
    found = await compare(make_workload("post"), time_scale=0.01, modes=["sequential"])
    result = found.modes["sequential"]
    (item,) = found.lower_bound.items
    assert result.wall_s >= item.one_by_one_s
    assert result.results == (item.results,)
    assert result.http_requests == 11


@pytest.mark.sockets
async def test_a_provider_that_does_not_start_reports_the_reason():
    with pytest.raises(ProviderNotStarted, match=r"status 2 .*'soon' is not a valid"):
        async with open_provider(seed="soon", time_scale=1.0):
            raise AssertionError("it started")


@pytest.mark.slow
@pytest.mark.sockets
async def test_the_provider_s_process_has_ended_afterwards():
    async with open_provider(seed=0, time_scale=0.0) as url:
        host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
        await (await trio.open_tcp_stream(host, int(port))).aclose()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(host, int(port))


@pytest.mark.sockets
def test_ctrl_c_ends_it_at_once_with_status_130():
    arguments = ("compare", "--time-scale", "10", "--modes", "sequential,callsheet")
    with CallsheetProcess(*arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"Running sequential\n"
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=5)
    assert process.returncode == 130
    assert words == b"\nInterrupted.\n"
