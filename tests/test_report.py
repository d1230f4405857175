"""The runner, its files, and what it does when something is wrong.

Chapters are small and live in a clone of their own.
"""

import ast
import csv
import errno
import gzip
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from difflib import unified_diff
from itertools import islice
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from conftest import ROOT, Clone

from musicnb import core
from musicnb.book.chapter import chapter_stems, code_of, imported, module_files, parse
from musicnb.core import LEDGER_COLUMNS, SCORE_COLUMNS, read_published
from musicnb.studies.registry import make_twin

FINDING = """
from musicnb.core import Run
run = Run("{stem}", seed=seed)
run.finding("one", "The seed is {{value:.0f}}.", seed, "seed", n=1, headline=True)
run.score("Mean", "mse", 1 / 3, fit_seconds=0.1)
"""
LOADS = """
from musicnb.core import Run
from musicnb.studies.registry import load
run = Run("{stem}")
tracks = load("popularity", data_dir)
run.use(tracks)
tracks.head()
"""
DATA_DIR = 'data_dir: str = ""  # folder of the data files'


def finding(stem: str) -> str:
    return FINDING.format(stem=stem)


def one_line(done) -> str:
    """The only line on standard error; no traceback, no box."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("musicnb: ")
    return lines[0]


def whole(clone) -> None:
    """No half-written file is left anywhere."""
    left = [
        p
        for p in clone.out.rglob("*")
        if p.name.startswith(".") and p.name != ".chapters" and p.is_file()
    ]
    assert not left, left
    assert not list(clone.out.rglob("*.running.ipynb"))


def until(happened, seconds: float = 300) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def results(clone) -> dict[Path, bytes]:
    """The files that a run leaves for its user."""
    return {p: p.read_bytes() for p in clone.out.glob("*.*") if p.is_file()}


def bring(clone, tracks: pd.DataFrame) -> Path:
    """The user's own folder `mine`, with these tracks."""
    folder = clone.root / "mine"
    folder.mkdir(exist_ok=True)
    tracks.to_csv(folder / "tracks.csv", index=False)
    return folder


# -- the files of a run


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A run of two chapters and the book's end."""
    clone = Clone(tmp_path_factory.mktemp("book"))
    clone.add("10_test_one", finding("10_test_one"))
    clone.add(
        "11_test_two",
        LOADS.format(stem="11_test_two"),
        parameters=DATA_DIR + '\nsize: int = 3  # of something\nfull: dict = {"size": 9}',
    )
    clone.add(
        "90_end",
        "from musicnb.core import read_book\nprint(sum(len(c['findings']) for c in read_book()))",
        parameters='depends: list[str] = ["*"]',
    )
    clone.done = clone.run("report", "test", "-p", "size=5")
    return clone


def test_files_of_a_run(book):
    assert book.done.returncode == 0, book.done.stderr
    assert book.done.stdout.strip().splitlines()[-1] == str(book.out / "index.html")
    stems = ["10_test_one", "11_test_two", "90_end"]
    for stem in stems:
        assert (book.out / f"{stem}.html").stat().st_size < 10e6
        assert (book.out / "notebooks" / f"{stem}.ipynb").is_file()
    run = book.results("run.json")
    assert [c["chapter"] for c in run["chapters"]] == stems
    assert all(
        c["status"] == "ok" and c["seconds"] > 0 and c["peak_mb"] > 10 for c in run["chapters"]
    )
    assert run["parameters"]["11_test_two"]["size"] == 5
    assert (
        run["profile"] == "quick"
        and run["versions"]["python"]
        and "seed" in run
        and "commit" in run
    )
    assert run["data"] == [
        {"name": "popularity", "kind": "twin", "rows": 20000, "sha256": run["data"][0]["sha256"]}
    ]
    end = (book.out / "notebooks" / "90_end.ipynb").read_text()
    assert '"1\\n"' in end, "the book's end sees what the others found"
    whole(book)


def test_findings_scores_ledger(book):
    found = book.results()
    assert (
        list(found[0]) == "id chapter claim metric value low high unit n split data stated".split()
    )
    assert found[0]["claim"] == "The seed is 1."
    page = (book.out / "10_test_one.html").read_text()
    assert "exploratory" in page and "stated beforehand" not in page
    with (book.out / "scores.csv").open() as f:
        scores = list(csv.DictReader(f))
    assert list(scores[0]) == SCORE_COLUMNS
    assert scores[0]["value"] == "0.333333" and scores[0]["study"] == "test"
    with (book.out / "ledger.csv").open() as f:
        ledger = list(csv.DictReader(f))
    assert list(ledger[0]) == LEDGER_COLUMNS
    assert [row["id"] for row in ledger] == list(read_published()), (
        "every published row, always, in the file's order"
    )
    assert {row["verdict"] for row in ledger} == {"not run"} and all(
        row["reason"] for row in ledger
    )


def test_pages_of_a_run(book):
    index, page = (book.out / "index.html").read_text(), (book.out / "11_test_two.html").read_text()
    assert (
        index.index("10_test_one.html")
        < index.index("11_test_two.html")
        < index.index("90_end.html")
    )
    assert (
        "The seed is 1." in index
        and "The seed is 1." in (book.out / "10_test_one.html").read_text()
    )
    assert "synthetic" in page.lower() and "twin" in page


def test_seed_option(clone):
    clone.add("10_test_one", finding("10_test_one"))
    assert clone.run("report", "--seed", "7").returncode == 0
    assert clone.results()[0]["value"] == 7


def test_profiles_and_parameters(clone):
    clone.add(
        "10_test_one",
        "print(profile, size)",
        parameters='profile: str = "quick"  # x\nsize: int = 3  # of it\nfull: dict = {"size": 9}',
    )
    assert clone.run("report", "--profile", "full").returncode == 0
    clone.out = clone.root / "reports" / "full"
    assert clone.results("run.json")["parameters"]["10_test_one"] == {"profile": "full", "size": 9}
    assert (
        clone.run("report", "--profile", "full", "-p", "size=4", "--out", str(clone.out)).returncode
        == 0
    )
    assert clone.results("run.json")["parameters"]["10_test_one"]["size"] == 4


# -- what runs again


def test_unchanged_run_is_cached_and_changes_are_seen(clone):
    clone.add("10_test_one", finding("10_test_one"))
    clone.add(
        "11_test_two",
        "import musicnb.plot\nprint(1)",
        parameters='depends: list[str] = ["10_test_one"]',
    )
    clone.add("12_test_three", "print(3)", parameters="size: int = 1  # of something")
    ok, cached = "ok", "cached"

    def expect(first, second, third, *arguments):
        done, wanted = clone.run("report", *arguments), [first, second, third]
        return done.returncode == 0 and list(clone.statuses().values()) == wanted

    assert expect(ok, ok, ok)
    before = {p.name: p.read_bytes() for p in clone.out.glob("*.html") if p.name != "index.html"}
    findings = (clone.out / "findings.json").read_bytes()
    assert expect(cached, cached, cached)
    assert (clone.out / "findings.json").read_bytes() == findings, "cached chapters count once"
    assert before == {
        p.name: p.read_bytes() for p in clone.out.glob("*.html") if p.name != "index.html"
    }
    assert expect(cached, cached, cached, "-p", "seed=1"), "the same value by another way"

    clone.add("12_test_three", "print(4)", parameters="size: int = 1  # of something")
    assert expect(cached, cached, ok), "a changed cell runs its own chapter only"
    assert expect(ok, ok, cached, "--seed", "2"), (
        "a changed value runs those that declare it, and those that build on other findings"
    )
    plot = clone.root / "musicnb" / "plot.py"
    plot.write_text(plot.read_text() + "\n# a change\n")
    assert expect(cached, ok, cached, "--seed", "2"), "a changed module runs those that reach it"
    (clone.root / "constraints.txt").write_text("pandas==3.0\n")
    assert expect(ok, ok, ok, "--seed", "2")
    assert expect(ok, ok, ok, "--seed", "2", "--force")


def test_changed_data_runs_again(clone):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    folder = bring(clone, make_twin("popularity", rows=50))
    assert clone.run("report", "--data-dir", "mine").returncode == 0
    assert clone.run("report", "--data-dir", str(folder)).returncode == 0
    assert clone.statuses() == {"10_test_one": "cached"}, "the same rows by another path"
    assert clone.results("run.json")["data"][0]["kind"] == "real"
    bring(clone, make_twin("popularity", rows=60))
    assert clone.run("report", "--data-dir", "mine").returncode == 0
    assert clone.statuses() == {"10_test_one": "ok"}
    assert clone.results("run.json")["data"][0]["rows"] == 60


ROOM = """
def load_tracks(data_dir):
    from musicnb.studies.registry import load
    return load("popul" + "arity", data_dir)
"""
READS = """
from musicnb.core import Run
from musicnb.studies.room import load_tracks
run = Run("10_test_one")
run.use(load_tracks(data_dir))
"""


def test_a_study_s_room_is_part_of_its_chapters(clone):
    """What the room holds, and the data that a chapter reads through it, which no chapter names."""
    room = clone.root / "musicnb" / "studies" / "room.py"
    room.write_text(ROOM)
    clone.add("10_test_one", READS, parameters=DATA_DIR)
    bring(clone, make_twin("popularity", rows=50))

    def status():
        clone.run("report", "--data-dir", "mine")
        return clone.statuses()["10_test_one"]

    assert status() == "ok" and status() == "cached"
    bring(clone, make_twin("popularity", rows=60))
    assert status() == "ok", "other data"
    assert clone.results("run.json")["data"][0]["rows"] == 60
    room.write_text(ROOM + "# a change\n")
    assert status() == "ok", "another room"
    assert status() == "cached"


def test_one_thread_parses_at_a_time(monkeypatch):
    """Python 3.11 raises SystemError where two do: threads of a run and of the docs ask for a
    chapter's tree at once."""
    busy, most, swift = 0, 0, ast.parse

    def slow_parse(*args, **options):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        time.sleep(0.01)
        busy -= 1
        return swift(*args, **options)

    monkeypatch.setattr("musicnb.book.chapter.ast.parse", slow_parse)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(parse, [f"x = {n}  # of this test" for n in range(8)]))) == 8
    assert most == 1


def test_jobs_give_the_same(clone):
    for i in range(3):
        clone.add(f"1{i}_test_x", finding(f"1{i}_test_x"))
    assert clone.run("report", "--jobs", "3").returncode == 0
    side_by_side = (clone.out / "findings.json").read_bytes()
    assert clone.run("report", "--force", "--jobs", "1").returncode == 0
    assert (clone.out / "findings.json").read_bytes() == side_by_side


def test_killed_run_is_finished_by_the_next(clone):
    clone.add("10_test_one", finding("10_test_one"))
    clone.add(
        "11_test_two",
        "import time; time.sleep(nap)",
        finding("11_test_two"),
        parameters="seed: int = 1  # x\nnap: float = 600.0  # s",
    )
    process = clone.popen("report", "-p", "nap=600")
    first = clone.out / ".chapters" / "10_test_one.json"
    started = clone.out / ".chapters" / "11_test_two.upstream.json"
    until(lambda: first.is_file() and started.is_file())
    time.sleep(2)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, "a killed run takes its kernels along"
    assert not (clone.out / "index.html").exists() and not (clone.out / "11_test_two.html").exists()
    assert clone.run("report", "-p", "nap=0").returncode == 0
    assert clone.statuses() == {"10_test_one": "cached", "11_test_two": "ok"}
    assert [f["chapter"] for f in clone.results()] == ["10_test_one", "11_test_two"], (
        "nothing lost, nothing counted twice"
    )
    whole(clone)


@pytest.mark.parametrize("ran", [False, True], ids=["at once", "after a chapter"])
def test_interrupted_run_is_one_line_and_can_be_finished(clone, ran):
    clone.add("10_test_one", finding("10_test_one"))
    clone.add("11_test_two", "import time; time.sleep(nap)", parameters="nap: float = 600.0  # s")
    process = clone.popen("report", "--jobs", "2")
    first, started = (
        clone.out / ".chapters" / name for name in ("10_test_one.json", "11_test_two.upstream.json")
    )
    until(
        lambda: started.is_file() and (first.is_file() or not ran)
    )  # at once: imports are being made, no chapter runs yet
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (
        process.returncode == 130
        and err.startswith("musicnb: interrupted")
        and err.count("\n") == 1
    )
    assert not psutil.wait_procs(family, timeout=60)[1], "no kernel is left"
    assert clone.run("report", "-p", "nap=0").returncode == 0
    assert (
        clone.statuses()["10_test_one"] in ("cached", "cached" if ran else "ok")
        and clone.statuses()["11_test_two"] == "ok"
    )
    whole(clone)


MEETS = """
import os, sys, time
from pathlib import Path
Path("kernel").write_text(str(os.getpid()))
while not Path("go").exists(): time.sleep(0.05)
"""


def kernel_of(clone) -> psutil.Process:
    """The kernel of the chapter that waits."""
    said = clone.root / "kernel"
    until(lambda: said.is_file() and said.read_text())
    return psutil.Process(int(said.read_text()))


def test_killed_chapter_takes_its_kernel_along(clone):
    """As when memory is short, and the system ends the chapter's process: its page says so, the
    others run, nothing is left."""
    clone.add("10_test_one", MEETS)
    clone.add("11_test_two", finding("11_test_two"))
    process = clone.popen("report", "--jobs", "1")
    kernel = kernel_of(clone)
    kernel.parent().kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert clone.statuses() == {"10_test_one": "failed", "11_test_two": "ok"}
    assert "ChapterDied" in (clone.out / "10_test_one.html").read_text()
    kernel.wait(60)
    whole(clone)


def test_two_runs_at_once(clone):
    """Each in a folder of its own, with one cache."""
    for stem in ("10_test_one", "11_test_two"):
        clone.add(stem, LOADS.format(stem=stem), parameters=DATA_DIR)
    outs = [clone.root / name for name in ("first", "second")]
    runs = [clone.popen("report", "--out", str(out)) for out in outs]
    for run in runs:
        assert run.communicate(timeout=300) and run.returncode == 0
    first, second = ((out / "notebooks" / "11_test_two.ipynb").read_text() for out in outs)
    assert json.loads(first)["cells"][-1]["outputs"] == json.loads(second)["cells"][-1]["outputs"]


def test_two_runs_in_one_folder(clone):
    clone.add("10_test_one", "import time; time.sleep(600)")
    first = clone.popen("report")
    lock = clone.out / ".chapters" / "lock"
    until(lambda: lock.is_file())
    second = clone.run("report")
    first.kill()
    first.communicate()
    assert second.returncode == 2 and "another run" in one_line(second)


COUNTS = """
import os
from pathlib import Path
from sklearn.dummy import DummyRegressor

class Counted(DummyRegressor):
    "Leaves a line for each fit, and ends the process at the one that a file names."
    def fit(self, X, y):
        with open("fits", "a") as f:
            f.write("fit\\n")
        end = Path("ends")
        if end.is_file() and len(Path("fits").read_text().split()) > int(end.read_text()):
            os._exit(9)
        return super().fit(X, y)
"""
FITS = """
import numpy as np
import pandas as pd
from musicnb.core import Run
from musicnb.evaluate import Experiment, draw_splits
from musicnb.studies.room import Counted
run, X = Run("10_test_one"), pd.DataFrame({"x": np.arange(200.0)})
exp = Experiment(run, draw_splits(200, 0.3, range(4)), X["x"] % 7)
exp.fit({"Counted": Counted()}, X, "x", permuted=False)
_ = run.finding("mse", "{value:.3f}", exp.score("Counted"))
"""


def test_work_of_a_broken_off_chapter_is_used_by_the_next_run(clone):
    """Four fits, of which the third ends the kernel: the second run has two left."""
    (clone.root / "musicnb" / "studies" / "room.py").write_text(COUNTS)
    clone.add("10_test_one", FITS)
    fits, ends = clone.root / "fits", clone.root / "ends"
    ends.write_text("2")
    assert clone.run("report").returncode == 1
    assert clone.statuses() == {"10_test_one": "failed"}
    ends.unlink()
    fits.write_text("")
    assert clone.run("report").returncode == 0
    assert len(fits.read_text().split()) == 2
    assert not list((clone.out / ".chapters").glob("*.work")), "nothing is kept of what ended well"
    found = (clone.out / "findings.json").read_bytes()
    fits.write_text("")
    assert clone.run("report", "--force").returncode == 0
    assert len(fits.read_text().split()) == 4
    assert (clone.out / "findings.json").read_bytes() == found, "the same results either way"


# -- what fails inside a chapter: its page, exit code 1, and the others still run


def test_failed_chapter(clone):
    clone.add(
        "10_test_one",
        "print('came before')",
        "raise ValueError('the <b>reason</b>')",
        "print('never')",
    )
    clone.add("11_test_two", "print(1)", parameters='depends: list[str] = ["10_test_one"]')
    clone.add("12_test_three", finding("12_test_three"))
    done = clone.run("report")
    assert done.returncode == 1
    assert clone.statuses() == {
        "10_test_one": "failed",
        "11_test_two": "skipped",
        "12_test_three": "ok",
    }
    page = (clone.out / "10_test_one.html").read_text()
    assert (
        "ValueError" in page
        and "the &lt;b&gt;reason&lt;/b&gt;" in page
        and "came before" in page
        and "<b>reason</b>" not in page
    )
    assert "10_test_one" in (clone.out / "11_test_two.html").read_text()
    index = (clone.out / "index.html").read_text()
    assert "failed" in index and "skipped" in index
    assert [f["chapter"] for f in clone.results()] == ["12_test_three"]
    clone.add("10_test_one", "print('mended')")
    assert clone.run("report").returncode == 0
    assert clone.statuses() == {"10_test_one": "ok", "11_test_two": "ok", "12_test_three": "cached"}


def test_chapter_that_hangs(clone):
    """It has no output and no use of the processor; one that computes as long goes on."""
    execute = clone.root / "musicnb" / "book" / "execute.py"
    execute.write_text(execute.read_text().replace("HANG_MINUTES = 10.0", "HANG_MINUTES = 0.2"))
    clone.add("10_test_one", "import time\ntime.sleep(600)")
    clone.add(
        "11_test_two",
        "import time\nend = time.monotonic() + 18\nwhile time.monotonic() < end: pass",
    )
    start = time.monotonic()
    assert clone.run("report").returncode == 1
    assert time.monotonic() - start < 300
    assert clone.statuses() == {"10_test_one": "failed", "11_test_two": "ok"}
    page = (clone.out / "10_test_one.html").read_text()
    assert "no output and no use of the processor for 0.2 minutes" in page
    assert "cell 3 of 3" in page


def test_time_limit_of_the_user(clone):
    clone.add("10_test_one", "import time\nprint('before')", "while True: time.sleep(0.01)")
    clone.add("11_test_two", finding("11_test_two"))
    assert clone.run("report", "--time-limit", "20").returncode == 1
    assert clone.statuses() == {"10_test_one": "failed", "11_test_two": "ok"}
    page = (clone.out / "10_test_one.html").read_text()
    assert "longer than the 20 s that --time-limit gives it" in page and "before" in page
    whole(clone)


DIES = {  # a cell that ends its kernel -> what the page says of it
    "says why": ("import os\nos.write(2, b'no more <memory>')\nos._exit(3)", "no more &lt;memory"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "Segmentation fault"),
    "killed": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "as the system does where memory runs out",
    ),
}


def test_chapter_whose_kernel_dies(clone):
    """The page has its last words."""
    for i, (cell, _) in enumerate(DIES.values()):
        clone.add(f"1{i}_test_x", cell)
    assert clone.run("report").returncode == 1
    for i, (_, words) in enumerate(DIES.values()):
        page = (clone.out / f"1{i}_test_x.html").read_text()
        assert "DeadKernelError" in page and words in page
        assert "cell 3 of 3" in page


def test_chapter_that_meets_a_full_disk(clone):
    clone.add(
        "10_test_one",
        "import errno, os\nfrom unittest.mock import patch\nfrom musicnb.core import write_text",
        "full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
        "with patch('os.replace', side_effect=full): write_text('full.txt', 'x')",
    )
    assert clone.run("report").returncode == 1
    assert "No space left on device" in (clone.out / "10_test_one.html").read_text()
    assert not list(clone.root.glob("*full.txt*"))


CURIOUS = {  # a chapter's cells -> status, and what its page says
    "no Python": (["def f(:"], "failed", "SyntaxError"),
    "stops by itself": (["import sys", "sys.exit()", "print('after')"], "failed", "SystemExit"),
    "another chapter's name": ([finding("30_other_x")], "failed", "its Run is called 30_other_x"),
    "a drawing that is none": (
        [
            "from IPython.display import display\n"
            "display({'image/svg+xml': '<svg><g></svg>'}, raw=True,\n"
            "        metadata={'musicnb': {'caption': 'c', 'alt': 'a'}})"
        ],
        "ok",
        "not well-formed",
    ),
    "control characters": (["print('a\\x01b\\x0cc')"], "ok", "<pre>a\x01b\x0cc"),
    "a long line": (
        ["print('x' * 5_000_000)"],
        "ok",
        "more characters are in the executed notebook",
    ),
    "magics": (
        [
            "%config InlineBackend.figure_formats = ['svg']",
            "x = !echo hi",
            "!echo here",
            "%%bash\necho there",
            "y = ('%d'\n     % 3)\nprint(y)",
        ],
        "ok",
        "there",
    ),
    "nothing said": (["1 + 1"], "ok", "<pre>2</pre>"),
    "a group of exceptions": (
        ["raise ExceptionGroup('two files', [OSError('no disk'), KeyError('b')])"],
        "failed",
        "two files (2 sub-exceptions); OSError: no disk; KeyError: ",
    ),
    "a long error": (["raise ValueError('no ' * 700_000)"], "failed", "ValueError: no no no"),
}


@pytest.fixture(scope="module")
def curious(tmp_path_factory):
    """One run of all of them, and of a chapter that is well."""
    clone = Clone(tmp_path_factory.mktemp("curious"))
    clone.stems = {name: f"{10 + i}_test_x" for i, name in enumerate(CURIOUS)}
    for name, (cells, _, _) in CURIOUS.items():
        clone.add(clone.stems[name], *cells)
    clone.add("20_test_well", finding("20_test_well"))
    clone.done = clone.run("report")
    return clone


@pytest.mark.parametrize("name", CURIOUS)
def test_curious_chapter(curious, name):
    stem, (_, status, says) = curious.stems[name], CURIOUS[name]
    assert curious.statuses()[stem] == status
    page = (curious.out / f"{stem}.html").read_text()
    assert says in page and len(page) < 400_000


def test_the_others_run_beside_curious_chapters(curious):
    assert curious.done.returncode == 1 and "Traceback" not in curious.done.stderr
    assert curious.statuses()["20_test_well"] == "ok"
    assert [f["chapter"] for f in curious.results()] == ["20_test_well"]
    assert (curious.out / "index.html").is_file()


def test_process_left_behind_does_not_hold_the_run(clone):
    clone.add(
        "10_test_one",
        "import subprocess\n"
        "left = subprocess.Popen(['sleep', '300'], start_new_session=True)\nprint(left.pid)",
    )
    start = time.monotonic()
    assert clone.run("report").returncode == 0
    assert time.monotonic() - start < 280


def test_page_that_cannot_be_made(clone):
    """Whatever breaks the page of one chapter, the others have theirs, and the book its index."""
    page = clone.root / "musicnb" / "book" / "page.py"
    page.write_text(
        page.read_text() + "\n_whole = render_chapter\ndef render_chapter(nb, cover):\n"
        "    if cover['chapter'].startswith('10') and cover['status'] == 'ok':\n"
        "        raise RuntimeError('too strange')\n    return _whole(nb, cover)\n"
    )
    clone.add("10_test_one", finding("10_test_one"))
    clone.add("12_test_three", finding("12_test_three"))
    assert clone.run("report").returncode == 1
    assert clone.statuses() == {"10_test_one": "failed", "12_test_three": "ok"}
    assert (
        "too strange" in (clone.out / "10_test_one.html").read_text()
        and "too strange" in (clone.out / "index.html").read_text()
    )


def test_attachment_that_is_missing(clone):
    from conftest import chapter

    nb = chapter()
    nb.cells.append(nbformat.v4.new_markdown_cell("![a picture](attachment:none.png)"))
    nbformat.write(nb, clone.nbs / "10_test_one.ipynb")
    done = clone.run("report")
    line = "its page could not be made (InvalidNotebook: missing attachment: none.png)"
    assert done.returncode == 1 and line in done.stdout
    assert line in (clone.out / "10_test_one.html").read_text()


def test_results_of_an_earlier_state_are_gone(clone):
    clone.add("10_test_one", finding("10_test_one"))
    assert clone.run("report").returncode == 0 and len(clone.results()) == 1
    clone.add("10_test_one", "print(1)")
    assert clone.run("report").returncode == 0 and clone.results() == []
    clone.add("20_other_x", "print(2)")
    assert clone.run("report", "other").returncode == 0
    assert not (clone.out / "10_test_one.html").exists(), (
        "the folder shows the chapters of this run"
    )
    assert clone.run("report").returncode == 0
    assert clone.statuses() == {"10_test_one": "cached", "20_other_x": "cached"}, (
        "but nothing is lost"
    )
    assert (clone.out / "10_test_one.html").is_file()


def test_data_that_changes_while_a_chapter_runs(clone):
    clone.add(
        "10_test_one",
        "import time\nfrom pathlib import Path\nPath('started').touch()\n"
        "while not Path('go').exists(): time.sleep(0.1)",
        LOADS.format(stem="10_test_one"),
        parameters=DATA_DIR,
    )
    bring(clone, make_twin("popularity", rows=50))
    process = clone.popen("report", "--data-dir", "mine")
    until(lambda: (clone.root / "started").exists())
    bring(clone, make_twin("popularity", rows=60))
    (clone.root / "go").touch()
    process.communicate(timeout=300)
    assert process.returncode == 1 and clone.statuses() == {"10_test_one": "failed"}
    assert "changed while it ran" in (clone.out / "10_test_one.html").read_text()
    assert clone.run("report", "--data-dir", "mine").returncode == 0


def test_why_it_is_a_twin(clone):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    (clone.root / "mine").mkdir()
    for arguments, why in (
        (["--data-dir", "twin"], "asked for"),
        (["--data-dir", "mine"], "no tracks.csv in mine/"),
    ):
        assert clone.run("report", *arguments).returncode == 0
        assert why in (clone.out / "10_test_one.html").read_text()


def test_published_figures_that_change(clone):
    clone.add(
        "10_test_one",
        "from musicnb.core import read_published\nread_published()['pop-rows']['published']",
    )
    assert clone.run("report").returncode == 0
    figures = clone.root / "data" / "published_figures.csv"
    figures.write_text(figures.read_text().replace("586672", "586673"))
    assert clone.run("report").returncode == 0
    assert (
        clone.statuses() == {"10_test_one": "ok"}
        and "586673" in (clone.out / "10_test_one.html").read_text()
    )


def test_damaged_caches_are_made_again(clone):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    bring(clone, make_twin("popularity", rows=50))
    assert clone.run("report", "--data-dir", "mine").returncode == 0
    for content in (b"[]", b'"x"', b"5", b"\xff\xfe", b""):
        damaged = [
            p
            for folder in (clone.out / ".chapters", clone.root / "cache")
            for p in folder.rglob("*")
            if p.is_file()
        ]
        for path in [*damaged, clone.out / ".chapters" / "lock"]:
            path.write_bytes(content)
        done = clone.run("report", "--data-dir", "mine")
        assert done.returncode == 0, (content, done.stderr)
        assert (
            clone.statuses() == {"10_test_one": "ok"}
            and clone.results("run.json")["data"][0]["rows"] == 50
        ), content


# -- what the user can mend: one line, exit code 2, nothing written

WRONG = {
    "unknown study": (["report", "jazz"], "no study or chapter 'jazz'"),
    "unknown profile": (["report", "--profile", "slow"], "--profile is 'slow'"),
    "unknown option": (["report", "--colour"], "--colour"),
    "no such folder": (["report", "--data-dir", "no/such"], "does not exist"),
    "parameter that nobody declares": (
        ["report", "-p", "smaple=3"],
        "no selected chapter declares it",
    ),
    "parameter of another type": (["report", "-p", "seed=many"], "a value of type int"),
    "parameter without a value": (["report", "-p", "seed"], "NAME=VALUE"),
    "no jobs": (["report", "--jobs", "0"], "--jobs is 0"),
    "seed that is no number": (["report", "--seed", "x"], "--seed"),
    "unwritable folder": (["report", "--out", "/proc/musicnb"], "cannot write to"),
    "file for a folder": (["report", "--data-dir", "settings.ini"], "is a file"),
    "name too long": (["report", "--data-dir", "x" * 300], "does not exist"),
    "seed below 0": (["report", "--seed", "-1"], "--seed is -1"),
    "no time": (["report", "--time-limit", "0"], "1 second or more"),
    "count below 0": (["report", "-p", "sample=-5"], "0 takes all"),
    "count below its comment": (["report", "-p", "leaves=1"], "of a tree, 2 or more"),
    "seed that numpy does not take": (["report", "--seed", "4294967296"], "0 to 4294967295"),
    "such a seed by -p": (["report", "-p", "seed=4294967296"], "from 0 to 4294967295"),
    "folder's name too long": (["report", "--out", "x" * 300], "File name too long"),
    "folder of the user's own": (["report", "--out", "data"], "is no book's folder"),
    "unknown data set": (["data", "fetch", "tracks"], "there is no data set 'tracks'"),
    "data set that Kaggle has not": (["data", "fetch", "playlists"], "AIcrowd"),
    "missing file": (["data", "check", "no/tracks.csv"], "does not exist"),
    "file with an unknown name": (["data", "check", "settings.ini"], "has no known name"),
    "twin without a file": (["data", "fit-twin", "popularity"], "no real file"),
    "unknown command": (["sing"], "sing"),
}


@pytest.mark.parametrize("arguments, line", WRONG.values(), ids=WRONG)
def test_wrong_command(clone, arguments, line):
    clone.add(
        "10_test_one",
        "print(1)",
        parameters="seed: int = 1  # of every random draw\nsample: int = 60  # rows, 0 takes all\n"
        "leaves: int = 8  # of a tree, 2 or more",
    )
    done = clone.run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert line in one_line(done)
    assert not results(clone), "nothing ran"


def test_cache_that_cannot_be_made(clone):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    done = clone.run("report", MUSICNB_CACHE="/proc/musicnb")
    assert done.returncode == 2 and "cache folder" in one_line(done)


def test_help_without_a_command(clone):
    done = clone.run()
    assert done.returncode == 2 and "report" in done.stderr and "Traceback" not in done.stderr


def test_read_only_folder(clone):
    if os.geteuid() == 0:
        pytest.skip(
            "root may write everywhere; not even root may write to the unwritable folder above"
        )
    clone.add("10_test_one", "print(1)")
    (clone.root / "reports").mkdir(mode=0o500)
    done = clone.run("report")
    assert done.returncode == 2 and "cannot write to" in one_line(done)


# -- a user's files and folders


def test_folder_of_the_user(clone):
    """Nothing in it is touched; in a book's folder, nothing that no run has made."""
    clone.add("10_test_one", "print(1)")
    mine = clone.root / "mine"
    mine.mkdir()
    (mine / "2023_summary.html").write_text("mine")
    done = clone.run("report", "--out", str(mine))
    assert done.returncode == 2 and "is no book's folder" in one_line(done)
    assert [p.name for p in mine.iterdir()] == ["2023_summary.html"]

    assert clone.run("report").returncode == 0
    for name in ("2023_summary.html", "20_other_x.html"):
        (clone.out / name).write_text("mine")
    assert clone.run("report").returncode == 0
    assert (clone.out / "2023_summary.html").read_text() == "mine"
    clone.add("20_other_x", "print(2)")
    done = clone.run("report")
    assert done.returncode == 2 and "no report has written it" in one_line(done)
    assert (clone.out / "20_other_x.html").read_text() == "mine"


def test_folder_with_braces(clone):
    clone.out = clone.root / "a {seed} {} book"
    clone.add("10_test_one", finding("10_test_one"))
    assert clone.run("report", "--out", str(clone.out)).returncode == 0
    assert clone.results()[0]["value"] == 1


def test_half_a_character_in_a_finding(clone):
    cut = finding("10_test_one").replace("The seed", "Bj\\ud800rk")
    clone.add("10_test_one", cut.replace("run.finding", "_ = run.finding"))
    clone.add("11_test_two", "print('Bj\\ud800rk')", finding("11_test_two"))
    clone.run("report")
    assert clone.statuses()["10_test_one"] == "ok"
    assert [f["claim"] for f in clone.results()][0] == "Bj\ufffdrk is 1."
    assert "Bj\ufffdrk is 1." in (clone.out / "index.html").read_text()


def test_twin_is_announced(clone):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    (clone.root / "mine").mkdir()
    done = clone.run("report", "--data-dir", "mine")
    assert "no tracks.csv in mine/: popularity is its synthetic twin" in done.stdout
    assert "synthetic twin" not in clone.run("report", "--data-dir", "twin").stdout


def test_home_that_cannot_be_written_to(clone):
    clone.add("10_test_one", finding("10_test_one"))
    assert clone.run("report", HOME="/proc/none", MPLCONFIGDIR=str(clone.root)).returncode == 0


def test_working_folder_that_is_gone(clone):
    gone = clone.root / "gone"
    gone.mkdir()
    clone.root = gone
    import subprocess

    code = "import os; os.rmdir(os.getcwd()); from musicnb.book.cli import main; main(['report'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, text=True, capture_output=True)
    assert done.returncode == 2 and "the working folder is gone" in one_line(done)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk is always full here")
@pytest.mark.parametrize(
    "code",
    [
        "from musicnb.book.cli import main; main(['data', 'list'])",
        "import pandas as pd; from musicnb.book import cli;"
        "from musicnb.models.predict import _print_rows as p;"
        "cli._obey = lambda _: p(['a'], [['b']], pd.DataFrame({'c': [1.0]})); cli.main([])",
    ],
    ids=["what is printed", "a table"],
)
def test_standard_output_on_a_full_disk(code):
    import subprocess

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2 and "standard output" in one_line(done)


def test_interrupt_while_a_run_is_planned(monkeypatch, capsys):
    from musicnb.book import cli

    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "make_plan", pressed)
    with pytest.raises(SystemExit) as stop:
        cli.main(["report"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert stop.value.code == 130 and capsys.readouterr().err == "musicnb: interrupted\n"


def test_interrupt_while_modules_are_imported(clone):
    (clone.root / "typer.py").write_text("open('here', 'w').close()\nimport time\ntime.sleep(60)")
    process = clone.popen("report")
    until((clone.root / "here").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err == "musicnb: interrupted\n" and process.returncode in (130, -signal.SIGINT)


def _bad_notebook(clone, kind):
    if kind == "not JSON":
        (clone.nbs / "10_test_one.ipynb").write_text('{"cells": [')
    elif kind == "not a notebook":
        (clone.nbs / "10_test_one.ipynb").write_text('{"a": 1}')
    elif kind == "no parameters cell":
        clone.add("10_test_one", "print(1)", tags=[])
    elif kind == "two parameters cells":
        import nbformat
        from conftest import chapter

        nb = chapter()
        nb.cells += [nb.cells[-1].copy()]
        nbformat.write(nb, clone.nbs / "10_test_one.ipynb")
    elif kind == "computed parameter":
        clone.add("10_test_one", parameters="seed: int = 1 + 1  # computed")
    elif kind == "unknown dependency":
        clone.add("10_test_one", parameters='depends: list[str] = ["19_test_none"]')
    elif kind == "default of another kind":
        clone.add("10_test_one", parameters='sample: int = "many"  # rows')
    elif kind == "full value of another kind":
        clone.add("10_test_one", parameters='sample: int = 1\nfull: dict = {"sample": "all"}')
    elif kind == "undeclared in full":
        clone.add(
            "10_test_one", parameters='profile: str = "quick"  # x\nfull: dict = {"sample": 0}'
        )


@pytest.mark.parametrize(
    "kind, line",
    {
        "not JSON": "is not a notebook",
        "not a notebook": "is not a notebook",
        "no parameters cell": "no cell tagged 'parameters'",
        "two parameters cells": "2 cells tagged 'parameters'",
        "computed parameter": "more than plain values",
        "unknown dependency": "depends on '19_test_none'",
        "undeclared in full": "names sample",
        "default of another kind": "sample of '10_test_one.ipynb' is 'many'",
        "full value of another kind": "sample of '10_test_one.ipynb' is 'all'",
    }.items(),
)
def test_broken_notebook(clone, kind, line):
    _bad_notebook(clone, kind)
    done = clone.run("report", "--profile", "full")
    assert done.returncode == 2 and line in one_line(done)


def _tracks(**changes) -> pd.DataFrame:
    return make_twin("popularity", rows=30).assign(**changes)


def _first(column: str, value, kind=object) -> pd.DataFrame:
    frame = _tracks().astype({column: kind})
    frame.loc[3, column] = value
    return frame


BAD_DATA = {
    "wrong file": (lambda: pd.DataFrame({"a": [1]}), "no column 'id', 'popularity'"),
    "no rows": (lambda: _tracks().iloc[:0], "a header without rows"),
    "missing column": (lambda: _tracks().drop(columns=["tempo"]), "no column 'tempo'"),
    "text in numbers": (
        lambda: _first("tempo", "fast"),
        "column 'tempo': 'fast' in row 4; expected a number (BPM)",
    ),
    "impossible range": (
        lambda: _first("danceability", 7.5),
        "column 'danceability': 7.5 in row 4; expected 0 to 1",
    ),
    "empty cell": (lambda: _first("loudness", None), "column 'loudness': an empty cell in row 4"),
    "duplicate ids": (lambda: _tracks(id="same"), "column 'id': 'same' in row 1"),
    "no whole number": (
        lambda: _first("popularity", 58.5),
        "column 'popularity': 58.5 in row 4; expected a whole number",
    ),
    "impossible year": (
        lambda: _tracks(release_date="0000"),
        "'0000' in row 1 and 29 more; expected a date",
    ),
    "year to come": (
        lambda: _first("release_date", "9999-01-01"),
        "'9999-01-01' in row 4; expected a date",
    ),
    "impossible date": (
        lambda: _first("release_date", "1900-00-00"),
        "'1900-00-00' in row 4; expected a date",
    ),
}


@pytest.mark.parametrize("make, line", BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data(clone, make, line):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    bring(clone, make())
    done = clone.run("report", "--data-dir", "mine")
    assert done.returncode == 2 and line in one_line(done)
    assert not results(clone), "nothing ran"


# without the hour, which would be another in each worker's names of tests
CUT_OFF = gzip.compress(b"id,popularity\n" + b"a,1\n" * 9999, mtime=0)[:-30]


@pytest.mark.parametrize(
    "name, content, line",
    [
        ("tracks.csv", b"", "'tracks.csv' is empty"),
        ("tracks.csv.gz", CUT_OFF, "cut off"),
        ("tracks.csv.gz", b"no gzip at all", "damaged or not a .gz file"),
        ("tracks.parquet", b"PAR1 and no more", "cannot be read as a table"),
        ("tracks.zip", b"PK and no more", "damaged or not a .zip file"),
        ("tracks.csv", b"\x89PNG\r\n\x1a\n\x00\xff", "is no text: byte 8 is 0"),
    ],
)
def test_broken_file(clone, name, content, line):
    clone.add("10_test_one", LOADS.format(stem="10_test_one"), parameters=DATA_DIR)
    (clone.root / "mine").mkdir()
    (clone.root / "mine" / name).write_bytes(content)
    done = clone.run("report", "--data-dir", "mine")
    assert done.returncode == 2 and line in one_line(done)


def test_check_names_every_fault(clone, capsys):
    from musicnb.book.cli import main

    for name, frame in {
        "tracks.csv": _tracks(id="same", tempo="fast"),
        "tracks.csv.gz": _tracks(energy=2, liveness=-1),
        "tracks.parquet": _tracks(),
    }.items():
        getattr(frame, "to_parquet" if name.endswith("parquet") else "to_csv")(
            clone.root / name, index=False
        )
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "data",
                "check",
                *(str(clone.root / n) for n in ("tracks.csv", "tracks.csv.gz", "tracks.parquet")),
            ]
        )
    lines = capsys.readouterr().out.splitlines()
    assert stop.value.code == 2
    assert "column 'tempo': 'fast' in row 1" in lines[0]
    assert (
        "column 'energy': 2 in row 1 and 29 more; expected 0 to 1" in lines[1]
        and "column 'liveness'" in lines[2]
    )
    assert lines[3].endswith("tracks.parquet: ok, 30 rows")


def test_missing_file_without_a_twin_is_a_failure_page(clone):
    clone.add(
        "10_test_one",
        LOADS.format(stem="10_test_one").replace("popularity", "artists"),
        parameters=DATA_DIR,
    )
    assert clone.run("report").returncode == 1
    assert "there is no twin of" in (clone.out / "10_test_one.html").read_text()


def test_full_disk_is_one_line(clone, monkeypatch, capsys):
    from musicnb.book.cli import main

    clone.add("10_test_one", finding("10_test_one"))
    assert clone.run("report").returncode == 0
    before = results(clone)
    real_replace = os.replace

    def full(source, target):
        if Path(target).suffix in (".json", ".html", ".csv") and Path(target).parent == clone.out:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real_replace(source, target)

    monkeypatch.chdir(clone.root)
    monkeypatch.setenv("MUSICNB_CACHE", str(clone.root / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(clone.root))
    monkeypatch.setattr(core.os, "replace", full)
    with pytest.raises(SystemExit) as stop:
        main(["report", "--seed", "5"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "the disk is full" in said and "\n" not in said
    assert before == results(clone), "the last good book stays"
    monkeypatch.undo()
    whole(clone)
    assert clone.run("report", "--seed", "5").returncode == 0
    assert clone.statuses() == {"10_test_one": "cached"}, "what had run was not lost"


def test_report_outside_a_clone(tmp_path):
    """An installed package without its notebooks says what it needs."""
    import shutil
    import subprocess

    shutil.copytree(
        ROOT / "musicnb",
        tmp_path / "site" / "musicnb",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    done = subprocess.run(
        [sys.executable, "-c", "from musicnb.book.cli import main; main(['report'])"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=os.environ
        | {"PYTHONPATH": str(tmp_path / "site"), "MUSICNB_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 2 and "no clone of musicnb" in one_line(done)


def test_lists_data_sets(clone):
    done = clone.run("data", "list", COLUMNS="200")
    assert done.returncode == 0
    for name in ("popularity", "youtube-enriched", "mpd.slice.*.json"):
        assert name in done.stdout


# -- the real chapters


def covering(nbs) -> list[str]:
    "Chapters that together use every room that a chapter uses: most rooms first."
    reached = {}
    for stem in chapter_stems(nbs):
        code = code_of(nbformat.read(nbs / f"{stem}.ipynb", as_version=4).cells)
        names = (module_files(name, ROOT / "musicnb") for name in imported(code, ""))
        reached[stem] = {module for found in names for module, _ in found}
    del reached["90_ledger"]  # it tells what the others have found
    rooms, taken = set().union(*reached.values()), []
    while rooms:
        taken.append(max(reached, key=lambda stem: len(reached[stem] & rooms)))
        rooms -= reached[taken[-1]]
    return sorted(taken)


def test_same_seed_same_bytes(tmp_path):
    """Every chapter on the twin, as a book: all run to their end. Then, from nothing, chapters that
    use every room: the same findings to the byte, and the same scores but for their seconds."""
    from musicnb.book.cli import main

    stems, again = chapter_stems(ROOT / "nbs"), covering(ROOT / "nbs")
    found, scores = [], []
    for out, asked in ((tmp_path / "first", []), (tmp_path / "second", again)):
        with suppress(SystemExit):
            main(["report", *asked, "--out", str(out), "--data-dir", "twin"])
        run = json.loads((out / "run.json").read_text())
        assert [c["chapter"] for c in run["chapters"]] == (asked or stems)
        assert not [c for c in run["chapters"] if c["status"] != "ok"]
        lines = (json.dumps(f) for f in json.loads((out / "findings.json").read_text()))
        found.append([f for f in lines if json.loads(f)["chapter"] in again])
        table = pd.read_csv(out / "scores.csv").drop(columns=["fit_seconds", "predict_seconds"])
        table = table[table["chapter"].isin(again)]
        scores.append(table.to_csv(index=False).splitlines())
    for first, second in (found, scores):
        assert len(first) > 1
        assert not list(islice(unified_diff(first, second, lineterm="", n=0), 12)), (
            "what differs, without the rest"
        )
