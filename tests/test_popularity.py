"""The popularity study on what users bring: tracks of one artist, of one year, and columns that do
not vary."""

import os
import re
import subprocess

import pytest
from conftest import PROGRAM, ROOT, status_of

from musicnb.studies.registry import make_twin

CHAPTERS = [
    "20_popularity_eda",
    "21_popularity_linear",
    "22_popularity_trees",
    "23_popularity_networks",
    "24_popularity_meaning",
    "25_popularity_predict",
]
OF_ARTISTS = [
    "genres",
    "sum_artist_followers",
    "avg_artist_followers",
    "sum_artist_popularity",
    "avg_artist_popularity",
]


def report_tracks(folder, tracks) -> str:
    """Run the study on these tracks; each chapter has to fail. What was printed."""
    home, out = folder / "mine", folder / "book"
    home.mkdir()
    tracks.to_csv(home / "tracks.csv", index=False)
    done = subprocess.run(
        [
            *PROGRAM,
            "report",
            *CHAPTERS,
            "--data-dir",
            str(home),
            "--out",
            str(out),
            "-p",
            "sample=0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MUSICNB_CACHE": str(folder / "cache")},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1 and {status_of(chapter, out) for chapter in CHAPTERS} == {
        "failed"
    }, said
    return " ".join(said.split())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda t: t.assign(**{c: t[c].dropna().iloc[0] for c in OF_ARTISTS}),
            "of one artist|1 named artists? in 2,500 rows",
        ),
        (lambda t: t.assign(release_date="1999-05-01"), "the year 1999"),
        (
            lambda t: t.assign(key=2, mode=1),
            r"the training rows have one value only in key \(2\.0\), mode \(1\.0\)",
        ),
    ],
    ids=["one artist", "one year", "constant columns"],
)
def test_tracks_that_nothing_can_be_learnt_from(tmp_path, change, line):
    said = report_tracks(tmp_path, change(make_twin("popularity", rows=2_500, random_state=7)))
    assert len(re.findall(line, said)) >= len(CHAPTERS) and "Traceback" not in said, said
