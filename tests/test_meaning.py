"""What sound does within artists, on what users bring: a table in which tempo does divide the
songs, without a crawl; one artist; artists of one song each; too few songs."""

import csv
import json

import numpy as np
import pytest
from conftest import report_songs

from musicnb.core import UserError
from musicnb.studies.registry import make_twin
from musicnb.studies.youtube import derive_songs
from musicnb.studies.youtube_meaning import check_songs, select_songs

CHAPTER = "19_youtube_meaning"


@pytest.fixture(scope="module")
def songs():
    return make_twin("youtube", 5_000)


@pytest.fixture
def report(tmp_path):
    return lambda table: report_songs(tmp_path, CHAPTER, "-p", "trees=8", youtube=table)


def test_the_verdicts_follow_the_numbers(songs, report):
    """Fast songs get ten times the views, whoever the artist is, and famous artists sing slow ones:
    only a comparison within artists sees it."""
    fast = songs["Tempo"] > songs["Tempo"].median()
    fame = (
        songs["Artist"]
        .map({name: i % 7 for i, name in enumerate(songs["Artist"].unique())})
        .astype(float)
    )
    made = songs.assign(
        Views=(
            1e5
            * 10 ** (fast + fame / 7 + np.random.default_rng(1).normal(scale=0.1, size=len(songs)))
        ).round(),
        Tempo=songs["Tempo"] - 8 * fame.where(songs["Tempo"] > 60, 0),
    )
    code, said, out = report(made)
    assert code == 0, said
    findings = {f["id"]: f for f in json.loads((out / "findings.json").read_text())}
    assert findings["tempo-and-key"]["claim"].startswith("Tempo and key are dividing points")
    assert findings["tempo-and-key"]["low"] > 10, "tempo adds most of what there is to explain"
    expected = findings["expectations"]
    assert "is tempo for views" in expected["claim"] and expected["low"] > 50, (
        "tempo, the largest of what is borne out"
    )
    assert not expected["claim"].startswith("0 of")
    assert (
        findings["services"]["claim"].startswith("The services differ")
        and "tempo (+" in findings["services"]["claim"]
    )
    scores = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    missing = [r for r in scores if not r["value"]]
    assert [r["features"] for r in missing] == ["audio-11+streams+artist+size+release"] and missing[
        0
    ]["note"].startswith("not run: these files have no size")
    assert {"random", "artist-apart"} == {r["split"] for r in scores if r["value"]}
    assert {"Mean", "Permuted labels", "OLS", "LightGBM"} <= {
        r["model"] for r in scores if r["target"] == "log views"
    }


@pytest.mark.parametrize(
    "change, seen",
    [
        (
            lambda t: t.assign(Artist="One"),
            "complete official songs of 1 artists; expected 1,500 songs of 60 artists or more",
        ),
        (lambda t: t.head(400), "complete official songs of"),
    ],
    ids=["one artist", "few songs"],
)
def test_too_few_songs(songs, change, seen):
    with pytest.raises(UserError, match=seen):
        check_songs(select_songs(derive_songs(change(songs))))


@pytest.mark.parametrize(
    "change, seen",
    [
        (
            lambda t: t.assign(Artist=[f"artist {i}" for i in range(len(t))]),
            "artists has two songs or more",
        ),
        (lambda t: t.assign(Valence=0.5), "Valence: one value only in the songs of each artist"),
    ],
    ids=["one song each", "constant"],
)
def test_bad_tables_are_one_line(songs, report, change, seen):
    code, said, _ = report(change(songs))
    assert code == 1 and seen in said and "Traceback" not in said, said
