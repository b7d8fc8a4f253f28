"""`--output` of `callsheet compose`: an existing file survives until a post replaces it."""

import os
import stat
from pathlib import Path

import pytest
from click import ClickException, UsageError
from click.testing import CliRunner

from callsheet import simulator
from callsheet.cli import main
from callsheet.cli.compose.output import open_output

PRECIOUS = "precious\n"


@pytest.fixture
def keep(tmp_path):
    path = tmp_path / "keep.md"
    path.write_text(PRECIOUS)
    return path


def opened(path):
    return open_output(str(path), suffix=".md", separator="\n")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.sockets
def test_a_ledger_that_cannot_be_used_exits_with_2_and_keeps_the_output(keep, tmp_path):
    ledger = tmp_path / "ledger"
    ledger.write_text("Hello " * 1000)
    result = compose("--ledger", ledger, "--output", keep)
    assert result.exit_code == 2
    assert "move the file away" in result.stderr
    assert keep.read_text() == PRECIOUS
    assert names_in(tmp_path) == ["keep.md", "ledger"]


@pytest.mark.sockets
@pytest.mark.parametrize("name", ["keep.md", "new.md", "new/"])
def test_a_run_without_a_post_leaves_the_output_as_it_was(keep, tmp_path, name):
    result = compose("--deadline", "0.05", "--output", f"{tmp_path}/{name}")
    assert result.exit_code == 1
    assert keep.read_text() == PRECIOUS
    assert names_in(tmp_path) == ["keep.md"]


def compose(*arguments):
    result = CliRunner().invoke(
        main, ["compose", "Tea", "--provider", "builtin", *map(str, arguments)]
    )
    assert isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_the_first_post_replaces_the_file_and_later_ones_are_appended(keep):
    output = opened(keep)
    assert keep.read_text() == PRECIOUS
    output.write("Tea", "a post")
    assert keep.read_text() == "a post\n"
    output.write("Coffee", "another\n")
    assert keep.read_text() == "a post\n\nanother\n", "it is in the file before the file is closed"
    output.close()
    assert names_in(keep.parent) == ["keep.md"]


def test_the_file_keeps_its_mode_and_a_symbolic_link_keeps_its_target(keep):
    keep.chmod(0o600)
    link = keep.parent / "link.md"
    link.symlink_to(keep)
    output = opened(link)
    output.write("Tea", "a post\n")
    output.close()
    assert link.is_symlink()
    assert keep.read_text() == "a post\n"
    assert stat.S_IMODE(keep.stat().st_mode) == 0o600


def test_a_folder_is_made_with_its_first_post(tmp_path):
    output = opened(f"{tmp_path}/a/b/")
    assert names_in(tmp_path) == []
    output.write("Tea", "a post\n")
    assert (tmp_path / "a" / "b" / "tea.md").read_text() == "a post\n"


def test_a_post_that_cannot_be_written_keeps_the_old_file(keep, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    output = opened(keep)
    monkeypatch.setattr("shutil.copymode", full)
    with pytest.raises(OSError, match="No space left"):
        output.write("Tea", "a post")
    output.close()
    assert keep.read_text() == PRECIOUS
    assert names_in(keep.parent) == ["keep.md"]


@pytest.mark.parametrize("name", ["keep.md/", "keep.md/post.md", "none/post.md"])
def test_a_path_that_cannot_be_written_is_refused_at_once(keep, name):
    with pytest.raises(UsageError, match="--output: cannot write"):
        opened(f"{keep.parent}/{name}")


def test_a_closed_stdout_is_refused(monkeypatch):
    with Path(os.devnull).open() as not_writable, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", not_writable)
        with pytest.raises(ClickException, match="stdout is closed"):
            open_output(None, suffix=".md", separator="\n")


@pytest.mark.sockets
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_on_a_full_disk_stops_the_run_with_one_error(monkeypatch):
    settings = simulator.ProviderSettings
    monkeypatch.setattr(simulator, "ProviderSettings", lambda: settings(time_scale=0.02))
    result = compose("--output", "/dev/full")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    why = "No space left on device; free space on the disk"
    assert errors == [f"Error: --output: cannot write /dev/full: {why}"]
