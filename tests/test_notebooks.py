"""The notebooks are the source: they run, they are clean, and what they export is what is committed."""
import ast
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

from musicnb.book.execute import read_chapter
from musicnb.book.report import cores, is_room, usual_jobs
from musicnb.studies.registry import data_cards

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").glob("*.ipynb"))
CHAPTERS = [p for p in NOTEBOOKS if re.match(r"[1-9]\d[a-z]?_", p.name) and not is_room(p)]
TOOLS = [p for p in NOTEBOOKS if re.match(r"0[0-5]_", p.name)]
stem = lambda p: p.stem  # noqa: E731


def run_notebook(path: Path) -> subprocess.CompletedProcess:
    code = "import sys, nbdev.test as t; sys.exit(not t.test_nb(sys.argv[1], do_print=True)[0])"
    threads = str(max(1, cores() // usual_jobs()))
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=path.parent, capture_output=True, text=True,
                          env=os.environ | {"IN_TEST": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": threads})


@pytest.fixture(scope="module")
def runs(request):
    """What becomes of the notebooks that this session asks for. As many run at a time as in a quick report, which halves the minutes on two cores."""
    asked = [item.callspec.params["path"] for item in request.session.items if getattr(item, "originalname", "") == "test_notebook_runs"]
    with ThreadPoolExecutor(usual_jobs()) as pool:
        yield {path: pool.submit(run_notebook, path) for path in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stem)
def test_notebook_runs(runs, path):
    """Each notebook is a test, in a process of its own."""
    done = runs[path].result()
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stem)
def test_notebook_is_clean(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    for cell in nb.cells:
        assert set(cell.metadata) <= {"tags"}, f"{path.name} {cell.id}: metadata {dict(cell.metadata)}"
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, f"{path.name} {cell.id}: outputs; run `make sync`"
    ids = [c.id for c in nb.cells]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", CHAPTERS, ids=stem)
def test_chapter_declares_its_parameters(path):
    made = read_chapter(path)
    assert {"profile", "seed", "data_dir", "depends", "time_limit", "full"} <= set(made.parameters)
    assert all(p.meaning for p in made.parameters.values()), "each parameter has its meaning in a comment"
    assert set(made.value("full", {})) <= set(made.parameters)
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    assert f'Run("{path.stem}"' in code, "a chapter's run carries the chapter's name"


def test_exports_are_in_sync(tmp_path):
    """Exporting again changes nothing: musicnb/ was not edited by hand."""
    for name in ("nbs", "musicnb"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "settings.ini", "setup.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for path in (tmp_path / "musicnb").glob("*.py"):
        if path.name != "__init__.py":
            path.unlink()
    subprocess.run([str(Path(sys.executable).parent / "nbdev-export")], cwd=tmp_path, check=True, capture_output=True)
    for path in sorted((ROOT / "musicnb").glob("*.py")):
        again = tmp_path / "musicnb" / path.name
        assert again.is_file(), f"{path.name} comes from no notebook"
        assert again.read_text() == path.read_text(), f"{path.name} differs; run `make sync`"
    assert {p.name for p in (tmp_path / "musicnb").glob("*.py")} == {p.name for p in (ROOT / "musicnb").glob("*.py")}


def test_cards_are_in_sync():
    assert (ROOT / "data" / "CARDS.md").read_text() == data_cards(), "run `make sync`"


ORDER = "core plot twin data features evaluate models networks crawl page report".split()


@pytest.mark.parametrize("path", TOOLS, ids=stem)
def test_nothing_imports_upwards(path):
    """The modules stand in one order; imports at module level go down only."""
    name = path.stem.split("_", 1)[1]
    tree = ast.parse((ROOT / "musicnb" / f"{name}.py").read_text())
    used = {n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.level and n.module}
    assert all(ORDER.index(m) < ORDER.index(name) for m in used), f"{name} imports {used}"
