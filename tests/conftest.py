"""Fixtures: a small clone with chapters of its own, the command line as a process, the real data
where it is, a page opened anew."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import guard.sitecustomize  # noqa: F401  heeds what `loopback` sets
import nbformat
import pytest

from musicnb.book.execute import cores
from musicnb.core import find_root
from musicnb.data import data_home, find_files
from musicnb.studies.popularity_files import POPULARITY

ROOT = find_root(__file__)
sys.path.insert(0, str(ROOT / "docs"))  # build, cells, readme, picture
# kept for the workers of a session, which see `MUSICNB_DATA` as it is set below
_ASKED = os.environ.setdefault("MUSICNB_TEST_DATA", os.environ.get("MUSICNB_DATA", ""))
_HOME = data_home("" if _ASKED == "twin" else _ASKED)
REAL = _HOME if find_files(POPULARITY, _HOME) else None
os.environ["MUSICNB_DATA"] = "twin"  # everything but what is marked `real`
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the runner has it
os.environ.setdefault(
    "JUPYTER_PREFER_ENV_PATH", "1"
)  # no kernel of the same name in somebody's home
# where pytest was started as a shell's background job, or under nohup, it and its children would
# ignore Ctrl-C and the terminal's end
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_xdist_auto_num_workers(config):
    "Of `-n auto`: one more than the cores, since many tests wait (for a kill, a limit, a service)."
    return cores() + 1


PROGRAM = [sys.executable, "-c", "from musicnb.book.cli import main; main()"]


SONG_FILES = {"youtube": "Spotify_Youtube.csv", "youtube_enriched": "Spotify_Youtube_enriched.csv"}


def report_songs(folder: Path, chapter: str, *options: str, **tables) -> tuple[int, str, Path]:
    """Write the tables as a user's files, run the chapter on them; the exit code, what was printed,
    and the folder of the book."""
    home, out = folder / "mine", folder / "book"
    home.mkdir()
    for name, table in tables.items():
        table.rename(columns={"row": ""}).to_csv(home / SONG_FILES[name], index=False)
    done = subprocess.run(
        [
            *PROGRAM,
            "report",
            chapter,
            "--data-dir",
            str(home),
            "--out",
            str(out),
            "-p",
            "sample=0",
            *options,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MUSICNB_CACHE": str(folder / "cache")},
    )
    return done.returncode, done.stdout + done.stderr, out


def status_of(chapter: str, out: Path) -> str:
    return {
        c["chapter"]: c["status"] for c in json.loads((out / "run.json").read_text())["chapters"]
    }[chapter]


@pytest.fixture
def loopback(monkeypatch):
    """No test reaches past this machine, nor does a process that it starts with the guard on its
    path."""
    monkeypatch.setenv("MUSICNB_TEST_LOOPBACK", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    if REAL is None:
        pytest.skip(f"no {POPULARITY.file} in $MUSICNB_DATA or data/raw")
    return REAL.resolve()


def chapter(
    *cells: str,
    parameters: str = "seed: int = 1  # of every random draw",
    tags: list[str] | None = None,
):
    """A small chapter: title, parameters cell, code cells."""
    v4 = nbformat.v4
    first = v4.new_code_cell(
        parameters, metadata={"tags": ["parameters"] if tags is None else tags}
    )
    body = [v4.new_code_cell(c) for c in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    return v4.new_notebook(
        cells=[v4.new_markdown_cell("# A small chapter\n\n> Its promise."), first, *body],
        metadata=kernel,
    )


class Clone:
    """A clone in a temporary folder with chapters of its own; the package is a copy that a test may
    change."""

    def __init__(self, root: Path):
        self.root, self.nbs, self.out, self.started = (
            root,
            root / "nbs",
            root / "reports" / "quick",
            [],
        )
        shutil.copytree(
            ROOT / "musicnb", root / "musicnb", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(ROOT / "nbs" / "assets", root / "nbs" / "assets")
        shutil.copytree(ROOT / "data" / "twins", root / "data" / "twins")
        for name in ("settings.ini", "constraints.txt", "data/published_figures.csv"):
            shutil.copy(ROOT / name, root / name)

    def add(self, stem: str, *cells: str, **options) -> None:
        nbformat.write(chapter(*cells, **options), self.nbs / f"{stem}.ipynb")

    def popen(self, *arguments: str, **env: str) -> subprocess.Popen:
        settings = {
            "PYTHONPATH": str(self.root),
            "MUSICNB_CACHE": str(self.root / "cache"),
            "MUSICNB_DATA": "twin",
        }
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.root,
            env=os.environ | settings | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left running: it would slow down the tests after it."""
        for process in (p for p in self.started if p.poll() is None):
            process.kill()
            process.communicate()

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        with self.popen(*arguments, **env) as process:
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def statuses(self) -> dict[str, str]:
        return {
            c["chapter"]: c["status"]
            for c in json.loads((self.out / "run.json").read_text())["chapters"]
        }

    def results(self, name: str = "findings.json"):
        return json.loads((self.out / name).read_text())


@pytest.fixture
def clone(tmp_path):
    made = Clone(tmp_path)
    yield made
    made.close()


def need_chromium(*flags, logs=""):
    """A browser for a test, which is skipped where none is installed; in CI that is a fault."""
    from picture import chromium

    if made := chromium(*flags, logs=logs):
        return made
    (pytest.fail if os.environ.get("CI") else pytest.skip)(
        "chromium and chromedriver are not installed"
    )


def reopened(browser, script, want, seconds=60):
    """Does `script` give `want` on the page opened anew? Chromium hands what was stored to the next
    page in its own time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        browser.refresh()
        if browser.execute_script(script) == want:
            return True
        time.sleep(0.2)
    return False
