"""Searches that are killed, shared, or opened with the wrong database; tracking that is asked for.

And the chapter on files without a crawl.
"""

import csv
import json
import os
import signal
import subprocess
import sys

import optuna
import pandas as pd
import pytest
from conftest import PROGRAM, ROOT

from musicnb.core import UserError
from musicnb.models.tune import (
    check_wandb,
    open_search,
    report_step,
    run_search,
    search_facts,
    table_search,
)
from musicnb.studies.registry import make_twin
from musicnb.studies.youtube_tuning import check_trials

CHAPTER = "18b_youtube_tuning"
KEY = "0123456789abcdef" * 2 + "01234567"  # 40 digits, as a key has
SPACE = {
    "x": optuna.distributions.FloatDistribution(0, 10),
    "kind": optuna.distributions.CategoricalDistribution(["a", "b"]),
}
SEARCH = """
import sys, time
sys.path.insert(0, {tests!r})
from test_tuning import SPACE, hill, opened
from musicnb.models.tune import run_search

def slow(trial):
    print(trial.number, flush=True)
    time.sleep(0.4)
    return hill(trial)

run_search(opened(sys.argv[1]), slow, SPACE, int(sys.argv[2]))
"""


def hill(trial) -> float:
    top = -((trial.params["x"] - 3) ** 2) - (trial.params["kind"] == "b")
    for step in range(1, 5):
        report_step(trial, top - 1 / step, step)
    return top


def opened(database, **other):
    facts = search_facts(SPACE, target="height") | other
    pruner = optuna.pruners.MedianPruner(2, 1)
    return open_search(
        "test: hill",
        facts,
        database,
        random_state=3,
        n_startup_trials=3,
        pruner=pruner,
        heartbeat=1,
    )


def worker(database, trials: int) -> subprocess.Popen:
    code = SEARCH.format(tests=str(ROOT / "tests"))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(database), str(trials)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def without_seconds(study) -> pd.DataFrame:
    return table_search(study).drop(columns="seconds")


def states(study) -> list[str]:
    return [t.state.name for t in study.trials]


def kill_in_the_seventh_trial(database) -> None:
    process = worker(database, 14)
    for line in process.stdout:
        if int(line) == 6:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()


def test_a_killed_search_goes_on_where_it_was(tmp_path):
    whole = without_seconds(run_search(opened(tmp_path / "whole.db"), hill, SPACE, 14))
    broken = tmp_path / "broken.db"
    kill_in_the_seventh_trial(broken)
    before = opened(broken)
    assert states(before).count("RUNNING") == 1 and 6 <= len(table_search(before)) <= 7
    after = without_seconds(run_search(before, hill, SPACE, 14))
    pd.testing.assert_frame_equal(after, whole)
    assert states(opened(broken)).count("FAIL") == 1


def test_a_search_whose_first_trial_fails_begins_with_it_again(tmp_path):
    def stumble(trial):
        raise KeyboardInterrupt

    facts, first = search_facts(SPACE), {"x": 5.0, "kind": "a"}
    with pytest.raises(KeyboardInterrupt):
        run_search(
            open_search("test: first", facts, tmp_path / "a.db", first=first), stumble, SPACE, 3
        )
    study = run_search(
        open_search("test: first", facts, tmp_path / "a.db", first=first), hill, SPACE, 3
    )
    assert table_search(study).loc[1, ["x", "kind"]].to_dict() == first
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_two_processes_share_a_search(tmp_path):
    database = tmp_path / "shared.db"
    opened(database)
    both = [worker(database, 16) for _ in range(2)]
    numbers = [process.communicate(timeout=120)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0] and all(numbers)
    together = numbers[0] + numbers[1]
    assert len(together) == len(set(together)), "no trial is run by both"
    assert 16 <= len(together) <= 17 and set(states(opened(database))) <= {"COMPLETE", "PRUNED"}


def test_a_trial_at_work_elsewhere_is_left_alone(tmp_path):
    database = tmp_path / "a.db"
    other = worker(database, 1)
    next(other.stdout)  # its trial has begun
    study = run_search(opened(database), hill, SPACE, 3)
    assert (
        other.wait(timeout=60) == 0
        and states(study).count("FAIL") == 0
        and len(table_search(study)) >= 3
    )


@pytest.mark.parametrize(
    "change,line",
    [
        ({"target": "depth"}, 'another target: "height"; expected "depth"'),
        ({"data": "b"}, 'another data: null; expected "b"'),
    ],
)
def test_a_search_of_another_question_is_refused(tmp_path, change, line):
    run_search(opened(tmp_path / "a.db"), hill, SPACE, 3)
    with pytest.raises(UserError, match="delete this one to search anew") as error:
        opened(tmp_path / "a.db", **change)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_database_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="is no database of searches"):
        opened(tmp_path)  # a folder
    (tmp_path / "letter").write_text("Dear musicnb")
    with pytest.raises(UserError, match="cannot be opened"):
        opened((tmp_path / "letter") / "a.db")  # a file where a folder should be
    (tmp_path / "letter.db").write_text("Dear musicnb, " * 100)
    with pytest.raises(UserError, match="is no database of searches .file is not a database."):
        opened(tmp_path / "letter.db")


def test_a_diary_without_a_login(monkeypatch, tmp_path):
    monkeypatch.setenv("MUSICNB_CACHE", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    check_wandb(False)
    with pytest.raises(
        UserError, match="nobody is logged in to Weights & Biases; expected an API key"
    ):
        check_wandb(True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb(True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's folder with the songs and without the crawl."""
    folder = tmp_path_factory.mktemp("mine")
    make_twin("youtube", 1_200).rename(columns={"row": ""}).to_csv(
        folder / "Spotify_Youtube.csv", index=False
    )
    return folder


@pytest.fixture
def report(home, tmp_path):
    def run(*more, out="book", **env):
        known = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        done = subprocess.run(
            [
                *PROGRAM,
                "report",
                CHAPTER,
                "--data-dir",
                str(home),
                "--out",
                str(tmp_path / out),
                *more,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env=known
            | {
                "PYTHONPATH": str(ROOT),
                "MUSICNB_CACHE": str(tmp_path / f"cache of {out}"),
                "HOME": str(tmp_path),
            }
            | env,
        )
        return done.returncode, done.stdout + done.stderr, tmp_path / out

    return run


def test_without_a_crawl_and_with_a_diary(report, tmp_path):
    code, said, out = report("-p", "tracking=true", WANDB_MODE="offline", WANDB_API_KEY=KEY)
    assert code == 0, said
    scores = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    missing = [r for r in scores if not r["value"]]
    assert {r["split"] for r in missing} == {"random", "artist-apart"} and {
        r["features"] for r in missing
    } == {"audio+likes+comments+licensed+size"}
    assert all(r["note"].startswith("not run: ") for r in missing)
    assert {
        "LightGBM, Optuna",
        "TabNet, Optuna",
        "Random forest, grid",
        "Random forest, elbow",
        "XGBoost, early stopping",
    } <= {r["model"] for r in scores if r["value"]}
    findings = {f["id"]: f for f in json.loads((out / "findings.json").read_text(encoding="utf-8"))}
    assert "corrected for their number" in findings["search-gain"]["claim"]
    diaries = list((tmp_path / "cache of book" / "wandb").rglob("*.wandb"))
    assert (
        len(diaries) == 2
        and not (ROOT / "wandb").exists()
        and not (ROOT / "nbs" / "wandb").exists()
    )
    assert not [
        path
        for path in (*out.rglob("*"), *diaries)
        if path.is_file() and KEY.encode() in path.read_bytes()
    ], "no key in any output"


def test_what_cannot_be_searched_ends_in_one_line(report, tmp_path):
    open_search("31_genre_networks: hill", search_facts(SPACE), tmp_path / "genre.db")
    code, said, out = report("-p", f"database={tmp_path}/genre.db")
    line = "holds the search '31_genre_networks: hill'; expected searches of '18b_youtube_tuning'"
    assert code == 1 and line in said and "Traceback" not in said, said
    assert json.loads((out / "run.json").read_text())["chapters"][0]["status"] == "failed"


def test_too_few_trials():
    with pytest.raises(UserError, match="three trials or more"):
        check_trials(5, 1, 3)
    check_trials(3, 3, 1)
