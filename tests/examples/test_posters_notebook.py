"""`examples/posters.ipynb` runs in order on what travels with the package, and shows something at each step."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "posters.ipynb"


def sources() -> list[str]:
    """The code of the cells."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def displayed(value: Any) -> Any:
    """What a notebook takes of a value: HTML, else a picture."""
    return getattr(value, "_repr_html_", lambda: None)() or getattr(value, "_repr_png_", lambda: None)()


def test_it_is_a_notebook_without_outputs_of_one_machine() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    for source in sources():
        ast.parse(source)


@pytest.mark.slow  # it trains nine small models
@pytest.mark.figures
def test_it_runs_in_order_and_shows_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path))
    names: dict[str, Any] = {"__name__": "notebook"}
    shown = [value for source in sources() if (value := run_cell(source, names)) is not None]
    assert len(shown) == 11
    assert all(displayed(value) for value in shown)
    assert names["evaluation"].metrics["mean_average_precision"].value > 0.35
    assert names["explanation"].picture is not None
    assert len(names["ablation"].cells) == 3
    assert len(names["audited"].posters) > 5000
    assert {path.name for path in tmp_path.iterdir()} >= {"night.png", "summer.png", "run", "ablation", "audit"}
