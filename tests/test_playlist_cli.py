"""`musicnb playlist make` and `evaluate`: what they write, and what they refuse."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from musicnb.core import SCORE_COLUMNS
from musicnb.studies.playlists import draw_playlists, keep_playlists, write_slices

COMMAND = [sys.executable, "-c", "from musicnb.book.cli import main; main()"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with slices of a twin, and a cache of its own."""
    folder = tmp_path_factory.mktemp("lists")
    drawn = draw_playlists(190, random_state=5)
    write_slices(keep_playlists(drawn, np.arange(150)), folder / "mine")
    write_slices(keep_playlists(drawn, np.arange(150, 190)), folder / "theirs")
    return folder


@pytest.fixture(scope="module")
def obey(home):
    """Runs `musicnb playlist …` with the cache of the module."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*COMMAND, "playlist", *arguments],
            cwd=home,
            env=os.environ | {"PYTHONPATH": str(ROOT), "MUSICNB_CACHE": str(home / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def song(home) -> tuple[str, str]:
    """Title and artist of a song that stands in many playlists."""
    p = keep_playlists(draw_playlists(190, random_state=5), np.arange(150))
    top = p.rows["track"].value_counts().index[0]
    return p.tracks["title"][top], p.tracks["artist"][top]


def test_make_writes_each_form(obey, home, song):
    title, artist = song
    for name in ("a.csv", "a.json", "a.m3u"):
        made = obey("make", title, "--by", artist, "--n", "7", "-o", name, "--data-dir", "mine")
        assert made.returncode == 0, made.stderr
    rows = list(csv.DictReader((home / "a.csv").open()))
    assert [row["position"] for row in rows] == [str(i) for i in range(1, 8)]
    assert [row["track_id"] for row in json.loads((home / "a.json").read_text())] == [
        row["track_id"] for row in rows
    ]
    lines = (home / "a.m3u").read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2] == "spotify:track:" + rows[0]["track_id"]
    assert title not in [row["title"] for row in rows]


def test_make_loads_nothing_that_is_slow(home, song, obey):
    """With a ready index it answers within a second, so the libraries of the chapters stay out."""
    title, artist = song
    command = ["playlist", "make", title, "--by", artist, "--data-dir", "mine"]
    assert obey(*command[1:]).returncode == 0  # now there is an index
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], *command],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MUSICNB_CACHE": str(home / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert (done.returncode, "numpy" in loaded) == (0, True)
    assert not loaded & {"pandas", "matplotlib", "scipy", "sklearn", "lightgbm"}


def test_make_from_several_songs_in_other_spelling(obey, song):
    title, artist = song
    twice = obey("make", title.upper(), title, "--by", artist, "--n", "3", "--data-dir", "mine")
    assert twice.returncode == 0, twice.stderr
    assert len(twice.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["make", "no such song at all", "--data-dir", "mine"], "no song is called"),
        (["make", "x", "--data-dir", "nowhere"], "does not exist"),
        (["make", "x", "-o", "x.txt", "--data-dir", "mine"], "one of .csv, .json, .m3u"),
        (["make", "x", "-o", "no/x.csv", "--data-dir", "mine"], "there is no folder"),
        (
            ["make", "x", "y", "z", "--by", "a", "--by", "b", "--data-dir", "mine"],
            "2 artists for 3",
        ),
        (["make", "x", "--n", "0", "--data-dir", "mine"], "--n"),
        (["evaluate", "--data-dir", "mine", "--out", "o", "--given", "two"], "one of first, title"),
        (["evaluate", "--data-dir", "nowhere", "--out", "o"], "does not exist"),
    ],
)
def test_what_is_refused_has_one_line(obey, arguments, says):
    done = obey(*arguments)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_m3u_needs_ids_of_spotify(obey, home):
    (home / "plain").mkdir()
    pairs = pd.DataFrame({"playlist_id": [1, 1, 2, 2], "track_id": [7, 8, 7, 9]})
    pairs.to_csv(home / "plain" / "playlist_tracks.csv", index=False)
    names = pd.DataFrame({"track_id": [7, 8, 9], "track_name": ["One", "Two", "Three"]})
    names.to_csv(home / "plain" / "tracks.csv", index=False)
    done = obey("make", "One", "-o", "one.m3u", "--data-dir", "plain")
    assert (done.returncode, "no address on Spotify" in done.stderr) == (2, True)
    assert obey("make", "One", "--data-dir", "plain").stdout.split()[:2] == ["1", "Two"]
    untitled = obey("evaluate", "--data-dir", "plain", "--out", "o", "--given", "title")
    assert (untitled.returncode, "have no titles" in untitled.stderr) == (2, True)


def test_evaluate_asks_about_another_folder(obey, home):
    done = obey(
        "evaluate", "--data-dir", "mine", "--test-dir", "theirs", "--out", "scores",
        "--given", "first", "--given", "title",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(home / "scores" / "scores.csv")
    assert list(scores.columns) == SCORE_COLUMNS
    assert {"random", "popular", "same artist", "co-occurrence", "blend"} <= set(scores["model"])
    assert set(scores["features"]) == {"first", "title"}
    assert scores["n_test"].eq(40).all()
    value = scores.query("metric == 'r_precision' and features == 'first'").set_index("model")
    assert value["value"]["random"] < value["value"]["popular"] < value["value"]["co-occurrence"]
    assert (value["low"] <= value["value"]).all() and (value["value"] <= value["high"]).all()
    assert "co-occurrence" in done.stdout


def test_evaluate_names_a_folder_that_cannot_be_made_before_it_works(obey):
    done = obey("evaluate", "--data-dir", "mine", "--out", "x" * 300)
    assert done.returncode == 2 and "the name is too long" in done.stderr
    assert "asked about" not in done.stdout
