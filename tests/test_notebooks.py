"""The notebooks are the source: they run, they are clean, and modules are what they export."""

import ast
import os
import re
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

from musicnb.book.chapter import chapter_stems, code_of, imported, module_files, read_chapter
from musicnb.book.execute import cores, usual_jobs
from musicnb.studies.registry import data_cards

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").glob("*.ipynb"))
CHAPTERS = [p for p in NOTEBOOKS if p.stem in chapter_stems(ROOT / "nbs")]
ROOMS_AND_TEXTS = [p for p in NOTEBOOKS if p not in CHAPTERS]
stem = lambda p: p.stem  # noqa: E731


def run_notebook(path: Path) -> subprocess.CompletedProcess:
    code = "import sys, nbdev.test as t; sys.exit(not t.test_nb(sys.argv[1], do_print=True)[0])"
    threads = str(max(1, cores() // usual_jobs()))
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        env=os.environ | {"IN_TEST": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": threads},
    )


@pytest.mark.parametrize("path", ROOMS_AND_TEXTS, ids=stem)
def test_notebook_runs(path):
    """Each notebook is a test, in a process of its own. Chapters run as a book, in test_report."""
    done = run_notebook(path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stem)
def test_notebook_is_clean(path):
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    for cell in nb.cells:
        assert set(cell.metadata) <= {"tags"}, (
            f"{path.name} {cell.id}: metadata {dict(cell.metadata)}"
        )
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, (
                f"{path.name} {cell.id}: outputs; run `make sync`"
            )
    ids = [c.id for c in nb.cells]
    assert len(ids) == len(set(ids))


def markdown_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def test_links_to_the_glossary_lead_to_its_words():
    words = re.findall(r"^## (.+)$", markdown_of(ROOT / "nbs" / "glossary.ipynb"), flags=re.M)
    anchors = {word.replace(" ", "-") for word in words}  # as JupyterLab makes them
    assert len(anchors) == len(words) > 50
    links = {
        p.stem: set(re.findall(r"glossary\.ipynb#([^)]+)\)", markdown_of(p))) for p in CHAPTERS
    }
    assert any(links.values())
    assert {name: found - anchors for name, found in links.items() if found - anchors} == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=stem)
def test_chapter_declares_its_parameters(path):
    made = read_chapter(path)
    assert {"profile", "seed", "data_dir", "depends", "full"} <= set(made.parameters)
    assert all(p.meaning for p in made.parameters.values()), (
        "each parameter has its meaning in a comment"
    )
    assert set(made.value("full", {})) <= set(made.parameters)
    code = "\n".join(
        c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"
    )
    assert f'Run("{path.stem}"' in code, "a chapter's run carries the chapter's name"


def calls_of(tree: ast.AST, *names: str) -> list[ast.Call]:
    found = (n for n in ast.walk(tree) if isinstance(n, ast.Call))
    return [n for n in found if ast.unparse(n.func) in names]


@pytest.mark.parametrize("path", CHAPTERS, ids=stem)
def test_badges_and_findings_are_seen_in_jupyterlab(path):
    """Each is what its cell ends with, or is displayed: no page is needed to see it."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or not (body := ast.parse(code_of([cell])).body):
            continue
        shown = [body[-1]] if isinstance(body[-1], ast.Expr) else []
        shown += [call for part in body for call in calls_of(part, "display")]
        seen = {id(call) for part in shown for call in calls_of(part, "run.use", "run.finding")}
        for call in (c for part in body for c in calls_of(part, "run.use", "run.finding")):
            assert id(call) in seen, f"{path.name} {cell.id}: {ast.unparse(call)[:60]} is not shown"


def claims_of(path: Path) -> list[str]:
    "The sentences of a chapter's findings, without their interval."
    cells = nbformat.read(path, as_version=4).cells
    texts = (n.value for n in ast.walk(ast.parse(code_of(cells))) if isinstance(n, ast.Constant))
    claims = (t for t in texts if isinstance(t, str) and re.search(r"{value[:}]", t))
    return [re.sub(r" ?\([^()]*{(ci|low)[^()]*\)", "", c) for c in claims]


def counts_in(path: Path) -> set[str]:
    "Parts of a chapter's claims that hold a number: counts, rounded values, its parameters."
    tree = ast.parse(code_of(nbformat.read(path, as_version=4).cells))
    given = {p.name: p.default for p in read_chapter(path).parameters.values()}
    numbers = {n for n, v in given.items() if type(v) in (int, float)}

    def is_number(value: ast.expr) -> bool:
        if isinstance(value, ast.Call):
            return ast.unparse(value.func) in ("len", "int", "round", "sum")
        plain = isinstance(value, ast.Constant) and isinstance(value.value, (int, float))
        return plain or getattr(value, "attr", "") == "value" or getattr(value, "id", "") in numbers

    calls = (c for c in ast.walk(tree) if isinstance(c, ast.Call))
    named = (k for c in calls for k in c.keywords if k.arg)
    return {"n", "value"} | {k.arg for k in named if is_number(k.value)}


@pytest.mark.parametrize("path", CHAPTERS, ids=stem)
def test_a_finding_is_one_short_sentence(path):
    """At most 25 words and three numbers, of which an interval is a part; years are no numbers."""
    counts = "|".join(counts_in(path))
    number = rf"{{[^}}]*:[^}}]*}}|{{(?:{counts})}}|\b(?!(?:19|20)\d\d\b)\d[\d,.]*\b"
    for claim in claims_of(path):
        numbers = re.findall(number, claim)
        assert len(claim.split()) <= 25 and len(numbers) <= 3, (path.stem, numbers, claim)


def test_exports_are_in_sync(tmp_path):
    """Exporting again changes nothing: musicnb/ was not edited by hand."""
    for name in ("nbs", "musicnb"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    for name in ("pyproject.toml", "settings.ini", "setup.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for path in modules(tmp_path).values():
        path.unlink()
    subprocess.run(
        [str(Path(sys.executable).parent / "nbdev-export")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    again = modules(tmp_path)
    assert again.keys() == modules(ROOT).keys(), "a module comes from no notebook, or was not made"
    for name, path in modules(ROOT).items():
        assert again[name].read_text() == path.read_text(), f"{name} differs; run `make sync`"


def modules(root: Path) -> dict[str, Path]:
    """The exported modules by name, those of packages too."""
    files = (root / "musicnb").rglob("*.py")
    return {str(p.relative_to(root)): p for p in files if p.name != "__init__.py"}


def test_cards_are_in_sync():
    assert (ROOT / "data" / "CARDS.md").read_text() == data_cards(), "run `make sync`"


# -- the house: each room imports from those above it, and from no other

ROOMS = """files executors core describe display plot maps copula twin columns data features intervals splits tasks evaluate
models.estimators models.inference models.explain models.cluster models.tune models.networks
models.tabular models.predict studies studies.registry book.chapter book.execute book.words book.markup book.page book.folder book.runners book.reference
book.index book.ledger book.report book.record book.compare book.batch book.cli""".split()  # noqa: E501


def room(module: str) -> str:
    """The room that a module belongs to: itself, or its wing where the wing's order is free."""
    parts = module.removesuffix(".__init__").split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS), "")


def read_imports(package: Path) -> dict[str, set[str]]:
    """Every module, with the modules that it imports anywhere; packages without code are none."""
    files = {
        p: ".".join(p.relative_to(package).with_suffix("").parts) for p in package.rglob("*.py")
    }
    code = {name: p.read_text() for p, name in files.items()}
    modules = {m for m, text in code.items() if text.strip() and m not in ("__init__", "_modidx")}
    found = {m: [module_files(n, package) for n in imported(code[m], m)] for m in modules}
    return {
        m: {name for files in found[m] for name, _ in files if name in modules} for m in modules
    }


def faults_of_the_house(package: Path) -> list[str]:
    """Modules without a room, imports that go up, and circles."""
    imports = read_imports(package)
    faults = [f"{m} is no room" for m in imports if not room(m)]
    if faults:
        return faults
    place = {m: ROOMS.index(room(m)) for m in imports}
    up = [f"{m} imports {n}" for m, used in imports.items() for n in used if place[n] > place[m]]
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as e:
        up.append("circle: " + " ".join(e.args[1]))
    return sorted(up)


def test_imports_go_down_only():
    assert not faults_of_the_house(ROOT / "musicnb")


def test_no_module_outgrows_a_room():
    """A module has at most 700 lines; what grows beyond that has more than one subject."""
    lines = {name: len(p.read_text().splitlines()) for name, p in modules(ROOT).items()}
    lines.pop("musicnb/_modidx.py")
    assert {name: n for name, n in lines.items() if n > 700} == {}


HOUSES = {
    "in order": (
        {"core": "", "data": "from .core import x", "models/tune": "import musicnb.data"},
        [],
    ),
    "upward": ({"core": "from musicnb import data", "data": "x = 1"}, ["core imports data"]),
    "upward in a function": (
        {"core": "def f():\n    import musicnb.models.tune as t", "models/tune": "x = 1"},
        ["core imports models.tune"],
    ),
    "upward and relative": (
        {
            "models/tune": "from .predict import f",
            "models/predict": "from .. import core",
            "core": "1",
        },
        ["models.tune imports models.predict"],
    ),
    "upward by a star": (
        {"data": "from musicnb.studies.genre import *", "studies/genre": "x = 1"},
        ["data imports studies.genre"],
    ),
    "circle": (
        {
            "studies/a": "from musicnb.studies import b",
            "studies/b": "def f():\n    from .a import x",
        },
        ["circle: studies.a studies.b studies.a"],
    ),
    "no room": ({"attic": "x = 1"}, ["attic is no room"]),
}


@pytest.mark.parametrize("files, faults", HOUSES.values(), ids=HOUSES)
def test_the_guard_sees_every_import(tmp_path, files, faults):
    for name, code in files.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(code + "\n")
    found = faults_of_the_house(tmp_path)
    assert [f.split(":")[0] for f in found] == [f.split(":")[0] for f in faults]
    assert found == faults or set(found[0].split()) == set(
        faults[0].split()
    )  # a circle has no start
