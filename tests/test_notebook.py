"""The notebook runs from its first cell to its last one, and is stored without outputs."""

import json
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from callsheet import simulator
from callsheet.simulator.settings import ProviderSettings

BOOK = Path(__file__).parent.parent / "examples" / "labels.ipynb"
CELLS = json.loads(BOOK.read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def test_no_output_is_stored_and_each_cell_has_a_name():
    names = [cell["id"] for cell in CELLS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)?", name) for name in names)
    for cell in CODE:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_links_of_the_notebook_lead_to_pages():
    targets = re.findall(r"\]\((\.\./[^)#]+)\)", BOOK.read_text())
    assert targets
    for target in targets:
        assert (BOOK.parent / target).exists(), target


@pytest.mark.sockets
@needs("matplotlib", "pandas")
def test_the_cells_run_in_their_order(monkeypatch, capsys):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    figures = []
    monkeypatch.setattr(plt, "show", lambda: figures.append(plt.gcf()))
    fast = partial(ProviderSettings, time_scale=0.02)
    monkeypatch.setattr(simulator, "ProviderSettings", fast)
    names = {"__name__": "__main__"}
    try:
        for cell in CODE:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        labels = names["labels"]
        for kind, sentiment in [("GOOD", "positive"), ("BAD", "negative"), ("PLAIN", "neutral")]:
            rows = labels[labels.text.str.startswith(tuple(names[kind]))]
            assert set(rows.sentiment) == {sentiment}
        printed = capsys.readouterr().out
        assert "the same labels: True\n" in printed
        assert "60 rows, 0 failed, 0.0" in printed
        (figure,) = figures
        (axes,) = figure.axes
        widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
        assert [sum(bars) for bars in zip(*widths, strict=True)] == pytest.approx([100.0] * 3)
        assert not names["output"].exists()  # its folder was a temporary one
    finally:
        names["stack"].close()
        plt.close("all")


@pytest.mark.slow
@pytest.mark.sockets
@needs("ipykernel", "matplotlib", "nbclient", "nbformat", "pandas")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_notebook_runs_in_a_kernel():
    import asyncio

    import nbclient
    import nbformat
    import trio

    book = nbformat.read(BOOK, as_version=4)
    nbformat.validate(book)
    client = nbclient.NotebookClient(book, timeout=120, kernel_name="python3")
    # Its own execute() would leave the loop of asyncio open.
    await trio.to_thread.run_sync(lambda: asyncio.run(client.async_execute()))
    shown = {cell.id: cell.outputs for cell in book.cells if cell.get("outputs")}
    assert "image/png" in shown["plot"][0].data
    assert "sentiment" in shown["run"][-1].data["text/plain"]
    assert "is positive" in shown["label"][0].text
