"""The pages written by hand: each block of code on them runs, as it stands, in a small clone.

Kaggle and the server of TabPFN's weights have stand-ins; nothing reaches past this machine."""

import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, chapter

PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))
FENCE = re.compile(r"^```(\S+)\n(.*?)^```$", re.M | re.S)
SHOWN = ("text", "{toctree}")  # what is not to be run


def blocks(page: Path) -> list[tuple[str, str]]:  # language and code
    return [
        block for block in FENCE.findall(page.read_text(encoding="utf-8")) if block[0] not in SHOWN
    ]


def run_page(page: Path, clone, **env: str) -> str:  # what it printed
    """Run a page's shell lines, then its Python; a chapter's cells become a notebook first."""
    found = blocks(page)
    lines = [code for language, code in found if language == "sh"]
    cells = [code for language, code in found if language == "python"]
    if page.stem == "own-chapter":
        notebook = chapter(*cells[1:], parameters=cells[0])
        nbformat.write(notebook, clone.nbs / "26_popularity_tempo.ipynb")
    elif cells:
        (clone.root / "page.py").write_text("\n".join(cells), encoding="utf-8")
        lines.append(".venv/bin/python page.py")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=clone.root,
        env=os.environ | settings(clone.root) | env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def settings(root: Path) -> dict[str, str]:
    """The environment of a user whose clone this is, on a machine without a network."""
    tests = ROOT / "tests"
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (tests / "guard", tests / "standins", root))),
        "MUSICNB_TEST_LOOPBACK": "1",
        "MUSICNB_CACHE": str(root / "cache"),
        "TABPFN_MODEL_CACHE_DIR": str(root / "weights"),
        "HF_HOME": str(root / "hub"),
        "COLUMNS": "200",
    }


@pytest.fixture
def home(clone):
    """A clone with an installed `.venv`, the emulator, and the chapters that the pages name."""
    binaries = clone.root / ".venv" / "bin"
    binaries.mkdir(parents=True)
    calls = {"musicnb": "-c 'from musicnb.book.cli import main; main()'", "python": ""}
    for name, call in calls.items():
        (binaries / name).write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        (binaries / name).chmod(0o755)
    for name in ("Makefile", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone.root / name)
    (clone.root / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "emulator.py", clone.root / "tests")
    (clone.root / ".venv" / ".installed").touch()  # as `make` leaves it
    return clone


def test_pages_show_nothing_that_is_not_run():
    languages = {language for page in PAGES for language, _ in blocks(page)}
    assert languages == {"sh", "python"}
    assert not [p.name for p in PAGES if re.search(r"^    \S", strip_blocks(p), re.M)]


def strip_blocks(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def page_named(stem: str) -> Path:
    return next(p for p in PAGES if p.stem == stem)


def test_get_started(home):
    home.add("20_popularity_small", "1 + 1")
    said = run_page(page_named("get-started"), home)
    assert "index.html" in said and "tracks.csv" in said


def test_own_data(home):
    said = run_page(page_named("own-data"), home, MUSICNB_DATA="")
    assert (home.root / "data" / "raw" / "tracks.csv").is_file()
    assert "ok, 2,000 rows" in said


def test_own_parameter(home):
    shutil.copy(ROOT / "nbs" / "33_genre_eda.ipynb", home.nbs)
    run_page(page_named("own-parameter"), home)
    assert "2,000 rows" in (home.out / "33_genre_eda.html").read_text(encoding="utf-8")


def test_many_books(home):
    from test_report import finding

    parameters = "seed: int = 1  # of every random draw\nsample: int = 60  # rows, 0 takes all"
    home.add("33_genre_eda", finding("33_genre_eda"), parameters=parameters)
    run_page(page_named("many-books"), home)
    reports = home.root / "reports"
    assert (reports / "quick-each" / "seed=3" / "index.html").is_file()
    assert "What changes with seed, sample?" in (reports / "sizes" / "index.html").read_text()
    first, again = ((reports / name / "findings.json") for name in ("sizes/small", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_own_chapter(home):
    run_page(page_named("own-chapter"), home)
    assert [f["id"] for f in home.results()] == ["tempo-line"]
    assert home.statuses() == {"26_popularity_tempo": "ok"}


def test_own_notebook(home):
    assert run_page(page_named("own-notebook"), home).count("R²") == 2


def test_crawl(home):
    said = run_page(page_named("crawl"), home)
    assert "units" in said and (home.root / "crawl-today.csv").is_file()


def test_wandb(home):
    run_page(page_named("wandb"), home)
    assert list((home.root / "cache" / "wandb").rglob("*.wandb")), "the record of the search"


@pytest.fixture
def hub(tmp_path):
    """The address of a stand-in for the server of the weights."""
    from tiny_tabpfn import make_weights

    weights = make_weights(tmp_path)

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802  a name of the library
            self.answer()

        def do_GET(self):  # noqa: N802
            if content := self.answer():
                self.wfile.write(content)

        def answer(self) -> bytes:
            file = weights / Path(self.path.split("?")[0]).name
            content = file.read_bytes() if file.is_file() else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{file.name}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            return content

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_tabpfn(home, hub):
    said = run_page(page_named("tabpfn"), home, HF_ENDPOINT=hub)
    assert "attribution" in said and len(list((home.root / "weights").glob("*.ckpt"))) == 2


def test_every_page_with_code_is_run():
    run = {name.removeprefix("test_").replace("_", "-") for name in globals()}
    assert {p.stem for p in PAGES if blocks(p)} <= run
