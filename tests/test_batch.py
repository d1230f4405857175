"""Many books from one command, their comparison, and a book again from its run.json.

Chapters are small and live in a clone of their own.
"""

import csv
import gc
import json
import os
import re
import signal
import threading
from urllib.parse import unquote

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup
from conftest import Clone
from test_report import bring, finding, one_line, until

from musicnb.book import cli, report, runners
from musicnb.book.record import read_record, repeat_plan

PARAMETERS = """seed: int = 1  # of every random draw
share: float = 0.5  # of the rows, above 0 and below 1
name: str = "Ann"  # of an artist
maps: list[str] = ["PCA"]  # to draw
full: dict = {"share": 0.9}"""
FINDINGS = """
from musicnb.core import Interval, Run
run = Run("10_test_one", seed=seed)
of = {"metric": "r2", "n": 9}
run.finding("answer", "<b>{who}</b> has {value}.", Interval(5, 4, 6), "songs", n=9, who=name)
run.finding("moves", "It is {value:.2f} ({ci}).", Interval(seed, seed - 3, seed + 3), **of)
run.finding("leaves", "It is {value:.2f} ({ci}).", Interval(seed, seed, seed + 0.5), **of)
run.finding("count", "There are {value:.0f}.", 10 * seed, "songs", n=9)
if seed > 1:
    run.finding("late", "There are {value:.0f}.", 7, "songs", n=9)
"""
TWIN = """
from musicnb.core import Provenance, Run
run = Run("11_test_two", seed=seed)
run.use(Provenance("songs", "twin", 100, "ab" * 32))
run.finding("made-up", "It is {value:.0f}.", seed, "r2", n=9)
"""


def books(folder):
    """The folders of a batch's books."""
    return sorted(p.parent for p in folder.glob("*/run.json"))


def findings_of(folder) -> dict[str, dict]:
    return {f["id"]: f for f in json.loads((folder / "findings.json").read_text())}


def compared(folder) -> dict[str, dict]:
    """The rows of a comparison, by id, in their order."""
    with (folder / "comparison.csv").open(newline="") as f:
        return {row["id"]: row for row in csv.DictReader(f)}


# -- a batch and its page


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Two books of two chapters."""
    clone = Clone(tmp_path_factory.mktemp("batch"))
    clone.add("10_test_one", FINDINGS, parameters=PARAMETERS)
    clone.add("11_test_two", TWIN)
    clone.out = clone.root / "reports" / "quick-each"
    clone.done = clone.run("report", "--each", "seed=1,3", "-p", "name=<i>")
    return clone


def test_a_book_for_each_value(batch):
    assert batch.done.returncode == 0, batch.done.stderr
    assert batch.done.stdout.strip().splitlines()[-1] == str(batch.out / "index.html")
    assert [p.name for p in books(batch.out)] == ["seed=1", "seed=3"]
    assert [findings_of(p)["moves"]["value"] for p in books(batch.out)] == [1, 3]
    run = json.loads((batch.out / "seed=3" / "run.json").read_text())
    assert run["parameters"]["10_test_one"]["name"] == "<i>" and run["seed"] == 3


def test_table_of_a_comparison(batch):
    rows = compared(batch.out)
    outcomes = {id: row["outcome"] for id, row in rows.items()}
    assert list(outcomes.values()) == ["apart", "bare", "bare", "moved", "same", "alone"]
    assert outcomes["leaves"] == "apart" and outcomes["late"] == "alone"
    assert outcomes["answer"] == "same" and outcomes["moves"] == "moved"
    assert rows["made-up"]["data"] == "twin" and not rows["leaves"]["data"]
    told = {n: rows["leaves"][n] for n in ("value seed=3", "low seed=3", "high seed=3", "n seed=3")}
    assert [*told.values()] == ["3.0", "3", "3.5", "9"]
    assert rows["late"]["value seed=1"] == ""


def test_page_of_a_comparison(batch):
    text = (batch.out / "index.html").read_text()
    page = BeautifulSoup(text, "html.parser")
    assert page.h1.get_text() == "What changes with seed?"
    assert "1 of 6 findings changes" in page.select_one(".answer").get_text()
    assert "2 differ without" in page.select_one(".answer").get_text()
    titles = [h.find(string=True).strip() for h in page.select(".forest h3")]
    assert titles[0] == "Leaves" and sorted(titles[1:]) == ["Count", "Made up"]
    assert page.select_one(".band") and len(page.select(".badge-twin")) == 2
    assert text.count("<script") == 1 and "<b>" not in text and "http:" not in text
    rows = page.select(".compared tbody:nth-of-type(1) td")
    assert [r.get_text(" ", strip=True) for r in rows] == ["1.00 1.00 to 1.50", "3.00 3.00 to 3.50"]


def test_links_of_a_comparison_lead_somewhere(batch):
    page = BeautifulSoup((batch.out / "index.html").read_text(), "html.parser")
    links = [a["href"] for a in page.select("main a")]
    assert len(links) > 15
    for link in links:
        file, _, place = link.partition("#")
        target = batch.out / unquote(file)
        assert target.is_file(), link
        assert not place or f'id="{place}"' in target.read_text(), link
    for book in books(batch.out):
        assert 'href="../index.html"' in (book / "index.html").read_text()


def test_each_combination(clone):
    clone.add("10_test_one", finding("10_test_one"), parameters=PARAMETERS)
    done = clone.run("report", "--each", "seed=1,2", "--each", 'maps=["PCA"],["PCA","x"]')
    assert done.returncode == 0, done.stderr
    found = books(clone.root / "reports" / "quick-each")
    assert len(found) == 4 and len({p.name.casefold() for p in found}) == 4
    runs = [json.loads((p / "run.json").read_text())["parameters"]["10_test_one"] for p in found]
    pairs = sorted((run["seed"], run["maps"]) for run in runs)
    assert pairs == [(s, m) for s in (1, 2) for m in (["PCA"], ["PCA", "x"])]


def test_a_book_for_each_row(clone):
    clone.add("10_test_one", FINDINGS, parameters=PARAMETERS)
    (clone.root / "books.csv").write_text(
        'book,seed,name\n"<b>../../up</b>",2,"a, b"\nusual,,\nUSUAL,3,\n', encoding="utf-8"
    )
    done = clone.run("report", "--each-from", "books.csv", "--out", "many")
    assert done.returncode == 0, done.stderr
    many = clone.root / "many"
    found = books(many)
    assert len(found) == 3 and all(p.parent == many for p in found)
    assert (many / "usual").is_dir() and len({p.name.casefold() for p in found}) == 3
    first = next(p for p in found if "up" in p.name)
    assert json.loads((first / "run.json").read_text())["parameters"]["10_test_one"] == {
        "seed": 2,
        "share": 0.5,
        "name": "a, b",
        "maps": ["PCA"],
    }
    text = (many / "index.html").read_text()
    assert "&lt;b&gt;../../up&lt;/b&gt;" in text and "<b>" not in text
    assert "musicnb report --profile quick --each-from books.csv" in text


def test_a_chapter_that_fails_in_one_book(clone):
    clone.add("10_test_one", FINDINGS + "\n1 / (seed - 2)", parameters=PARAMETERS)
    done = clone.run("report", "--each", "seed=2,3")
    assert done.returncode == 1
    out = clone.root / "reports" / "quick-each"
    assert "1 not well" in (out / "index.html").read_text()
    assert {row["outcome"] for row in compared(out).values()} == {"alone"}


MEETS = """
import time
from pathlib import Path
Path(f"here {seed}").touch()
end = time.monotonic() + 120
while len(list(Path().glob("here *"))) < 2:
    assert time.monotonic() < end, "the other book does not run"
    time.sleep(0.05)
"""


def test_books_run_at_a_time(clone):
    """The only chapter of each book waits for that of the other one."""
    clone.add("10_test_one", MEETS, finding("10_test_one"))
    done = clone.run("report", "--each", "seed=1,2", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"seed=1 [1/1] 10_test_one: ok", "seed=2 [1/1] 10_test_one: ok"} <= {
        line.split(" in ")[0] for line in done.stdout.splitlines()
    }


# -- what is left of a batch


def test_interrupted_batch_goes_on(clone):
    """Ctrl-C in the second book: one line, no process; the next run has the second left."""
    nap = "import time; time.sleep(0 if seed < 2 or __import__('os').path.exists('go') else 600)"
    clone.add("10_test_one", nap, finding("10_test_one"))
    command = ("report", "--each", "seed=1,2")
    out = clone.root / "reports" / "quick-each"
    process = clone.popen(*command)
    begun = out / "seed=2" / ".chapters" / "10_test_one.upstream.json"
    until(lambda: begun.is_file() and (out / "seed=1" / "run.json").is_file())
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err.count("\n") == 1
    assert err.startswith("musicnb: interrupted; run the same command again")
    assert not psutil.wait_procs(family, timeout=60)[1], "no kernel is left"
    assert not (out / "index.html").exists()
    (clone.root / "go").touch()
    assert clone.run(*command).returncode == 0
    runs = [json.loads((p / "run.json").read_text()) for p in books(out)]
    assert [run["chapters"][0]["status"] for run in runs] == ["cached", "ok"]
    assert compared(out)["one"]["outcome"] == "bare"


def test_fifty_books_leave_nothing_behind(clone, monkeypatch, capsys):
    """Their chapters run in this process, without a kernel, so that what grows would be seen."""
    clone.add("10_test_one", FINDINGS, parameters=PARAMETERS)
    me, seen = psutil.Process(), []

    def run_here(chapter, values, target, environment, *_):
        gc.collect()
        mb = me.memory_info().rss / 2**20
        seen.append((len(gc.get_objects()), mb, threading.active_count(), me.num_fds()))
        book = nbformat.read(chapter.path, as_version=4)
        with monkeypatch.context() as here:
            for name, value in environment.items():
                here.setenv(name, value)
            exec(book.cells[2].source, dict(values))
        nbformat.write(book, target)
        return {"seconds": 0.1, "peak_mb": 1.0, "error": None}

    monkeypatch.chdir(clone.root)
    monkeypatch.setattr(runners, "run_chapter", run_here)
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", "--jobs", "1", "--each", "seed=" + ",".join(map(str, range(1, 51)))])
    assert stop.value.code == 0, capsys.readouterr().err
    assert len(books(clone.root / "reports" / "quick-each")) == len(seen) == 50
    objects, mb, threads, files = ([now[i] for now in seen[9:]] for i in range(4))
    assert objects[-1] - objects[0] < 400, "ten a book; its findings alone are more"
    assert mb[-1] - mb[0] < 5 and max(threads) == threads[0] and max(files) == files[0]
    assert not me.children()
    assert len(compared(clone.root / "reports" / "quick-each")) == 5


# -- a book again from its run.json


@pytest.fixture
def first(clone):
    """A book with a value of its own, and its run.json."""
    clone.add("10_test_one", FINDINGS, parameters=PARAMETERS)
    clone.add("11_test_two", finding("11_test_two"))
    done = clone.run("report", "10_test_one", "-p", "share=0.25", "--seed", "4", "--out", "first")
    assert done.returncode == 0, done.stderr
    clone.record = clone.root / "first" / "run.json"
    return clone


def test_a_book_again(first):
    done = first.run("report", "--from", "first/run.json", "--out", "again")
    assert done.returncode == 0, done.stderr
    assert "not as in" not in done.stdout
    again = first.root / "again"
    old, new = (json.loads(p.read_text()) for p in (first.record, again / "run.json"))
    for name in ("parameters", "profile", "seed"):
        assert old[name] == new[name], name
    for name in ("findings.json", "scores.csv"):
        assert (again / name).read_bytes() == (first.record.parent / name).read_bytes()
    assert not (again / "11_test_two.html").exists()
    assert "--from first/run.json" in (again / "index.html").read_text()


def test_options_win_over_the_record(first):
    options = ["11_test_two", "10_test_one", "--profile", "full", "--seed", "9", "-p", "name=Bo"]
    done = first.run("report", *options, "--from", "first/run.json", "--out", "again")
    assert done.returncode == 0, done.stderr
    run = json.loads((first.root / "again" / "run.json").read_text())
    assert run["profile"] == "full" and run["seed"] == 9
    assert run["parameters"]["10_test_one"] == {
        "seed": 9,
        "share": 0.25,  # chosen in the first run, so neither profile's own
        "name": "Bo",
        "maps": ["PCA"],
    }
    assert run["parameters"]["11_test_two"] == {"seed": 9}


def remarks(clone, monkeypatch) -> list[str]:
    """What is said when first/run.json is to be repeated."""
    monkeypatch.chdir(clone.root)
    monkeypatch.setenv("MUSICNB_CACHE", str(clone.root / "cache"))
    order = report.Order(profile="quick", out="again", record="first/run.json")
    return repeat_plan(order, read_record("first/run.json")).remarks


def test_what_is_not_as_it_was_is_said(first, monkeypatch):
    run = json.loads(first.record.read_text())
    run["parameters"] |= {"12_test_gone": {"seed": 1, "data_dir": "no/such"}}
    run["parameters"]["10_test_one"] |= {"old": 3}
    run["versions"] |= {"pandas": "0.1", "leftpad": "1.0"}
    first.record.write_text(json.dumps(run))
    said = [line.removeprefix("not as in run.json: ") for line in remarks(first, monkeypatch)]
    assert said[:3] == [
        "the data folder 'no/such' is not here",
        "12_test_gone is left out",
        "10_test_one has no parameter old",
    ]
    assert re.fullmatch(r"pandas was 0\.1, is \d[\d.]+", said[3])
    assert said[4:] == ["leftpad was 1.0, is not there"]


def test_data_that_are_not_as_they_were(clone, monkeypatch):
    """The user's own file of then is a twin now, and the other way round."""
    parameters = 'data_dir: str = ""  # folder'
    load = "from musicnb.core import Run\nfrom musicnb.studies.registry import load\n"
    load += "run = Run('20_popularity_one')\nrun.use(load('popularity', data_dir))"
    clone.add("20_popularity_one", load, parameters=parameters)
    assert clone.run("report", "--out", "first").returncode == 0
    assert remarks(clone, monkeypatch) == []
    record = clone.root / "first" / "run.json"
    run = json.loads(record.read_text())
    run["data"][0] |= {"sha256": "ab" * 32, "kind": "real"}
    record.write_text(json.dumps(run))
    said = "not as in run.json: popularity was real data abababababab, is "
    assert remarks(clone, monkeypatch) == [said + "twin"]
    from musicnb.studies.registry import make_twin

    folder = bring(clone, make_twin("popularity", 50))
    monkeypatch.setenv("MUSICNB_DATA", str(folder))
    assert remarks(clone, monkeypatch) == [said + "other content"]


# -- what the user can mend: one line, exit code 2, nothing runs

TABLES = {
    "column.csv": "smaple\n3\n",
    "empty.csv": "",
    "header.csv": "seed\n",
    "short.csv": "seed,share\n1,0.5\n2\n",
    "twice.csv": "seed,share\n1,0.5\n1,0.50\n",
    "named.csv": "book,seed\na,1\na,2\n",
    "range.csv": "seed,share\n1,0.5\n2,1.5\n",
    "quote.csv": 'seed\n"1\n',
    "again.csv": "seed,seed\n1,2\n",
    "bytes.csv": b"\xff\xfe\x00seed",
    "list.json": "[]",
    "other.json": '{"profile": "quick"}',
    "half.json": "{",
    "gone.json": '{"profile": "quick", "parameters": {"12_test_gone": {}}, "data": [], '
    '"versions": {}, "commit": ""}',
    "value.json": '{"profile": "quick", "parameters": {"10_test_one": {"share": 3}}, "data": [], '
    '"versions": {}, "commit": ""}',
}
WRONG = {
    "value of another type": (["--each", "seed=1,x"], "--each seed=x; expected a value of type"),
    "value out of range": (["--each", "share=0.5,1"], "above 0 and below 1"),
    "two equal values": (["--each", "share=0.5,.5"], "come to the same values"),
    "unknown parameter": (["--each", "smaple=1"], "--each smaple: no selected chapter declares"),
    "parameter with an option of its own": (["--each", "profile=full"], "it comes from --profile"),
    "empty list": (["--each", "seed="], "--each 'seed=' has no values"),
    "empty value": (["--each", "seed=1,,2"], "--each seed=; expected"),
    "no list": (["--each", "seed"], "NAME=A,B"),
    "parameter twice": (["--each", "seed=1", "--each", "seed=2"], "stands twice"),
    "parameter beside -p": (["--each", "seed=1", "-p", "seed=2"], "seed stands beside -p"),
    "seed beside --seed": (["--each", "seed=1", "--seed", "2"], "seed stands beside --seed"),
    "wrong -p beside it": (["--each", "seed=1", "-p", "share=7"], "musicnb: -p share=7"),
    "table and list": (["--each", "seed=1", "--each-from", "x.csv"], "expected one of the two"),
    "record and list": (["--each", "seed=1", "--from", "x"], "--from stands beside --each"),
    "record and table": (["--each-from", "x", "--from", "x"], "--from stands beside --each-from"),
    "no table": (["--each-from", "no.csv"], "cannot be read (No such file"),
    "folder for a table": (["--each-from", "nbs"], "cannot be read (Is a directory"),
    "unknown column": (
        ["--each-from", "column.csv"],
        "line 2 of 'column.csv': smaple: no ",
    ),
    "empty table": (["--each-from", "empty.csv"], "'empty.csv' has no rows"),
    "table without rows": (["--each-from", "header.csv"], "'header.csv' has no rows"),
    "short row": (["--each-from", "short.csv"], "line 3 of 'short.csv' has 1 cells; expected 2"),
    "equal rows": (["--each-from", "twice.csv"], "line 2 of 'twice.csv': seed=1, share=0.5 and"),
    "equal names": (["--each-from", "named.csv"], "come to the same name"),
    "value in a table": (["--each-from", "range.csv"], "line 3 of 'range.csv': share=1.5"),
    "open quote": (["--each-from", "quote.csv"], "'quote.csv' is not CSV"),
    "column twice": (["--each-from", "again.csv"], "'again.csv' has the column 'seed' twice"),
    "no text": (["--each-from", "bytes.csv"], "'bytes.csv' is not CSV"),
    "no record": (["--from", "no.json"], "cannot be read (No such file"),
    "record of a list": (["--from", "list.json"], "is no run.json: it lacks a sound 'profile'"),
    "record of another format": (["--from", "other.json"], "it lacks a sound 'parameters'"),
    "half a record": (["--from", "half.json"], "'half.json' is not JSON"),
    "record of other chapters": (["--from", "gone.json"], "no chapter of 'gone.json' is here"),
    "value in a record": (["--from", "value.json"], "share of 10_test_one in 'value.json' is 3"),
    "folder of the user's own": (["--each", "seed=1", "--out", "nbs"], "is no batch's folder"),
    "unwritable folder": (["--each", "seed=1", "--out", "/proc/musicnb"], "cannot write to"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("wrong"))
    clone.add("10_test_one", FINDINGS, parameters=PARAMETERS)
    for name, text in TABLES.items():
        (clone.root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return clone


@pytest.mark.parametrize("options, line", WRONG.values(), ids=WRONG)
def test_wrong_batch(home, monkeypatch, capsys, options, line):
    monkeypatch.chdir(home.root)
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", *options])
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.err.count("\n") == 1 and not said.out
    assert line in said.err and said.err.startswith("musicnb: ")
    assert not (home.root / "reports").exists(), "nothing ran"


def test_a_book_does_not_go_into_a_folder_of_many(batch):
    done = batch.run("report", "--out", str(batch.out))
    assert done.returncode == 2 and "is no book's folder" in one_line(done)
    assert os.listdir(batch.out / "seed=1")
