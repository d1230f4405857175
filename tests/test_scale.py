"""More than one machine and one memory can hold: indexes written a slice at a time, and a cluster.

The cluster is a scheduler and two workers as processes of their own.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pytest
from conftest import PROGRAM, ROOT
from test_report import finding, one_line

from musicnb.core import DataError
from musicnb.executors import open_executor
from musicnb.studies import playlists_build
from musicnb.studies.playlists import draw_playlists, load_playlists, write_slices
from musicnb.studies.playlists_build import build_index, write_counts, write_index
from musicnb.studies.playlists_index import Index, follow, is_current

COUNTS = [f"{k}_{n}.npy" for k in ("track", "artist") for n in ("codes", "near", "weight")]


@pytest.fixture(scope="module")
def lists():
    return draw_playlists(240, random_state=6)


@pytest.fixture
def slices(lists, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MUSICNB_CACHE", str(tmp_path / "cache"))
    write_slices(lists, tmp_path / "mine", size=60)
    return tmp_path / "mine"


# -- an index, a slice at a time


def test_slices_one_at_a_time_give_the_index_of_all_at_once(slices, tmp_path):
    parts = Index(build_index(str(slices), tmp_path / "parts"))
    whole = Index(write_index(load_playlists(str(slices)), tmp_path / "whole"))
    for path in sorted(whole.folder.glob("*.npy")):
        assert path.read_bytes() == (parts.folder / path.name).read_bytes(), path.name


def test_a_broken_slice_is_named_and_the_rest_is_used(slices, tmp_path):
    (slices / "mpd.slice.60-119.json").write_text('{"playlists": [')
    heard = []
    index = Index(build_index(str(slices), tmp_path / "index", tell=heard.append))
    assert len(index) == 180
    assert len(heard) == 1 and heard[0].startswith("left out: 'mpd.slice.60-119.json'")
    assert index.facts["left_out"] and is_current(index.folder)


def test_no_whole_slice_is_an_error_and_leaves_nothing(slices, tmp_path):
    for path in slices.iterdir():
        path.write_text("{")
    with pytest.raises(DataError, match="no file of playlists is whole; 'mpd.slice"):
        build_index(str(slices), tmp_path / "made" / "index")
    assert list((tmp_path / "made").iterdir()) == []


def test_a_slice_that_is_there_twice_counts_once(slices, tmp_path):
    alone = Index(build_index(str(slices), tmp_path / "alone"))
    shutil.copy(slices / "mpd.slice.0-59.json", slices / "mpd.slice.0-59 (1).json")
    twice = Index(build_index(str(slices), tmp_path / "twice"))
    assert (len(twice), twice.facts["twice"]) == (len(alone), 60)
    assert twice.facts["pairs"] == alone.facts["pairs"]


def test_only_added_slices_are_read(slices, tmp_path, lists):
    write_slices(lists, tmp_path / "aside", size=60)
    (slices / "mpd.slice.180-239.json").unlink()
    build_index(str(slices), tmp_path / "index")
    shutil.copy(tmp_path / "aside" / "mpd.slice.180-239.json", slices)
    read, plain = [], playlists_build.read_part

    def watched(task):
        read.append(task[1][0].name)
        return plain(task)

    with patch.object(playlists_build, "read_part", watched):
        index = Index(build_index(str(slices), tmp_path / "index"))
    assert read == ["mpd.slice.180-239.json"] and len(index) == 240


def test_an_index_of_another_version_is_written_again(slices, tmp_path):
    folder = build_index(str(slices), tmp_path / "index")
    facts = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(facts | {"version": 1}))
    assert not is_current(folder)
    assert len(Index(build_index(str(slices), folder))) == 240


def test_a_full_disk_leaves_the_former_index(slices, tmp_path):
    folder = build_index(str(slices), tmp_path / "made" / "index")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "grams.npy")

    with patch.object(playlists_build, "write_titles", full), pytest.raises(OSError):
        build_index(str(slices), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["index"]


def test_a_question_about_a_common_song_reads_what_was_counted(lists, tmp_path):
    live = Index(write_index(lists, tmp_path / "live"))
    ready = Index(write_index(lists, tmp_path / "ready", live=0))
    assert len(ready.counted["track"][0]) == ready.tracks
    for code in ready.popular[:5]:
        assert follow(live, [code], 10).tolist() == follow(ready, [code], 10).tolist()


# -- a cluster


class Cluster:
    """A scheduler and two workers."""

    def __init__(self, folder: Path):
        self.env = os.environ | {"PYTHONPATH": str(ROOT), "MUSICNB_DATA": "twin"}
        self.env["MUSICNB_CACHE"] = str(folder / "cache")
        self.env["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"  # workers lost by one task
        self.folder, self.workers = folder, []
        file = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", str(file))
        self.address = json.loads(soon(lambda: file.is_file() and file.read_text()))["address"]
        for _ in range(2):
            self.add_worker()

    def start(self, what: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", what, *options, "--no-dashboard"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def add_worker(self) -> None:
        self.workers.append(self.start("worker", self.address, "--no-nanny", "--nthreads", "1"))

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(30)


def soon(what, seconds: float = 120):
    """The first value that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.1)
    raise TimeoutError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("distributed")
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


def counts(folder: Path, executor: Executor, **options) -> dict[str, bytes]:
    with patch.object(playlists_build, "_BLOCK", 20_000):  # so that there are many tasks
        write_counts(folder, executor, live=500, **options)
    return {name: (folder / name).read_bytes() for name in COUNTS}


def test_a_cluster_counts_as_this_machine_does(cluster, lists, tmp_path):
    """One of the two workers is killed in the middle."""
    folder, killed = write_index(lists, tmp_path / "index"), []

    def kill(done, of, what):
        if not killed:
            killed.append(done / of)
            cluster.workers.pop(0).kill()

    with open_executor() as here:
        local = counts(folder, here)
    with open_executor(scheduler=cluster.address, folders=[tmp_path]) as there:
        assert counts(folder, there, step=kill) == local
    assert 0 < killed[0] < 1 and len(np.load(folder / "track_codes.npy")) > 100
    cluster.add_worker()


KILLS_ITS_WORKER = """
import os, signal, time
from pathlib import Path
import psutil
tries = Path("tries")
tries.write_text(tries.read_text() + "." if tries.is_file() else ".")
if tries.read_text() == ".":
    program = psutil.Process().parent()
    os.kill(program.parent().pid, signal.SIGKILL)
    time.sleep(300)
"""


def test_a_lost_worker_costs_its_chapter_one_retry(cluster, clone):
    clone.add("10_test_one", KILLS_ITS_WORKER, finding("10_test_one"))
    done = clone.run("report", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dashboard of the cluster: http://" in done.stdout
    assert "10_test_one: the worker at tcp://" in done.stdout and "starts again" in done.stdout
    assert (clone.root / "tries").read_text() == ".."
    assert [f["chapter"] for f in clone.results()] == ["10_test_one"]
    assert not left_over(clone)
    cluster.add_worker()


def left_over(clone) -> list[psutil.Process]:
    """Processes that still work for a book."""
    return [p for p in psutil.process_iter() if str(clone.root) in " ".join(words(p))]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_chapter_that_ends_its_workers_fails_alone(cluster, clone):
    """The next chapter waits for a worker, and that is said."""
    clone.add("10_test_one", KILLS_ITS_WORKER.replace('if tries.read_text() == "."', "if True"))
    clone.add("11_test_two", finding("11_test_two"))
    process = clone.popen("report", "--scheduler", cluster.address, "--jobs", "1")
    said = iter(process.stdout.readline, "")
    failed = next(line for line in said if "10_test_one: failed" in line)
    assert "several workers that ran it died" in failed
    assert next(line for line in said if f"dask worker {cluster.address}" in line)
    for _ in range(2):
        cluster.add_worker()
    process.communicate(timeout=120)
    assert process.returncode == 1 and (clone.root / "tries").read_text() == ".."
    assert clone.statuses() == {"10_test_one": "failed", "11_test_two": "ok"}


def test_an_interrupt_ends_what_a_cluster_runs(cluster, clone):
    """One line, no process on any worker; the next run has the second chapter left."""
    clone.add("10_test_one", finding("10_test_one"))
    wait = "import os, time\nopen('begun', 'w')\ntime.sleep(0 if os.path.exists('go') else 300)"
    clone.add("11_test_two", wait, finding("11_test_two"))
    process = clone.popen("report", "--scheduler", cluster.address, "--jobs", "1")
    soon((clone.root / "begun").is_file)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.startswith("musicnb: interrupted; run the same")
    assert len(err.splitlines()) == 1
    assert soon(lambda: not left_over(clone))
    (clone.root / "go").touch()
    done = clone.run("report", "--scheduler", cluster.address, "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert clone.statuses() == {"10_test_one": "cached", "11_test_two": "ok"}


def test_an_interrupt_leaves_no_half_of_an_index(cluster, tmp_path):
    write_slices(draw_playlists(3_000, random_state=6), tmp_path / "mine", size=100)
    process = subprocess.Popen(
        [*PROGRAM, "playlist", "index", "--data-dir", "mine", "--scheduler", cluster.address],
        cwd=tmp_path,
        env=cluster.env | {"MUSICNB_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = iter(process.stderr.readline, "")
    assert next(line for line in said if "dashboard of the cluster" in line)
    process.send_signal(signal.SIGINT)
    last = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 130 and last.startswith("musicnb: interrupted")
    assert not list((tmp_path / "cache").rglob("index.json"))


def test_a_scheduler_that_is_lost_in_the_middle(cluster, clone):
    kill = f"import os, signal, time\nos.kill({cluster.scheduler.pid}, signal.SIGKILL)"
    clone.add("10_test_one", kill, "time.sleep(300)")
    done = clone.run("report", "--scheduler", cluster.address)
    assert done.returncode == 2
    said = one_line(done)
    assert "was lost in the middle" in said and "run again" in said


# -- what is refused


def refused(*arguments: str, **where) -> str:
    """The one line that a command ends with."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, env=env, **where)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


def test_a_scheduler_that_is_not_there(tmp_path):
    pytest.importorskip("distributed")
    said = refused("playlist", "index", "--data-dir", "twin", "--scheduler", "tcp://127.0.0.1:9")
    assert "there is no Dask scheduler at 'tcp://127.0.0.1:9'" in said and "dask scheduler" in said


def test_a_twin_does_not_write_into_a_folder_with_files(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    said = refused("playlist", "twin", ".", "--playlists", "5", cwd=tmp_path)
    assert "there are files in '.'; expected a new folder" in said
