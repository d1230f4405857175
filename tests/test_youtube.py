"""The YouTube study on what users bring: a folder without the crawl, a crawl of other songs, words
in number columns, columns that never vary, a handful of rows."""

import csv
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import report_songs, status_of

from musicnb.files import DataError
from musicnb.studies.registry import load, make_twin
from musicnb.studies.youtube import (
    clean_songs,
    derive_songs,
    join_enriched,
    load_songs,
    set_aside,
    song_keys,
    unseen_songs,
)
from musicnb.studies.youtube_views import clean_views

CHAPTER = "12_youtube_prepare"


@pytest.fixture(scope="module")
def songs() -> dict:
    return {name: make_twin(name, 1_200) for name in ("youtube", "youtube-enriched")}


@pytest.fixture
def report(tmp_path):
    return partial(report_songs, tmp_path, CHAPTER, "-p", "trees=5")


status = partial(status_of, CHAPTER)


def test_without_a_crawl_what_needs_it_is_not_run(songs, report):
    code, said, out = report(youtube=songs["youtube"])
    assert code == 0 and status(out) == "ok", said
    scores = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    missing = [r for r in scores if not r["value"]]
    assert [r["features"] for r in missing] == ["audio+streams+size"] and missing[0][
        "note"
    ].startswith("not run: no Spotify_Youtube_enriched.csv")
    assert {r["features"] for r in scores if r["value"]} == {"audio+streams"}
    page = (out / f"{CHAPTER}.html").read_text(encoding="utf-8")
    assert "Not run: nobody counted these videos again" in page  # once, under the table


def test_a_crawl_of_other_songs_is_one_line(songs):
    enriched = songs["youtube-enriched"]
    strange = enriched.assign(row=enriched["row"].to_numpy()[::-1])
    with pytest.raises(DataError, match="row number 1199 of the enrichment is") as error:
        join_enriched(songs["youtube"], strange)
    assert "rows match no track" in str(error.value) and "\n" not in str(error.value)


def test_words_in_number_columns(songs, report):
    enriched = songs["youtube-enriched"].copy()
    text = enriched["viewCount"].map(lambda v: "" if np.isnan(v) else f"{v:.0f}").astype(object)
    text.iloc[:40] = "Error"
    code, said, out = report(
        youtube=songs["youtube"], youtube_enriched=enriched.assign(viewCount=text)
    )
    assert code == 0, said
    assert "cells that say Error read as empty: 40 of viewCount" in (
        out / f"{CHAPTER}.html"
    ).read_text(encoding="utf-8")


def test_other_words_stop_before_the_first_chapter(songs, report):
    text = songs["youtube-enriched"]["viewCount"].astype(object)
    text.iloc[7] = "plenty"
    code, said, out = report(
        youtube=songs["youtube"], youtube_enriched=songs["youtube-enriched"].assign(viewCount=text)
    )
    assert (
        code == 2
        and said.count("\n") == 1
        and "column 'viewCount': 'plenty' in row 8; expected a number (views)" in said
    )
    assert not (out / "index.html").exists()


@pytest.mark.parametrize(
    "change,line",
    [
        (
            lambda t: t.assign(Tempo=120.0, Views=5_000.0),
            "the training rows have one value only in Tempo (120.0), Views (5000.0)",
        ),
        (lambda t: t.head(20), "there are 20 songs; expected 500 or more"),
    ],
    ids=["constant columns", "few rows"],
)
def test_what_cannot_be_prepared_is_one_line(songs, report, change, line):
    code, said, out = report(youtube=change(songs["youtube"]))
    assert code == 1 and status(out) == "failed"
    assert line in said.replace("\n", " ") and "Traceback" not in said, said


LATER = (
    "14_youtube_clusters",
    "15_youtube_regression",
    "16_youtube_networks",
    "17_youtube_predict",
)


def test_without_a_crawl_the_later_chapters_run(songs, tmp_path):
    """What the crawl would bring has rows "not run" that say why; everything else is scored."""
    code, said, out = report_songs(tmp_path, *LATER, youtube=songs["youtube"].head(700))
    assert code == 0 and [status_of(chapter, out) for chapter in LATER] == ["ok"] * len(LATER), said
    scores = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    missing = {(r["chapter"], r["features"]): r["note"] for r in scores if not r["value"]}
    assert all(note.startswith("not run: ") for note in missing.values())
    assert {
        ("15_youtube_regression", "audio+streams+size"),
        ("16_youtube_networks", "audio+streams+size+kinds"),
        ("17_youtube_predict", "audio+streams+size+text"),
    } <= set(missing)
    assert "not run: 0 songs have views at both dates" in {
        r["note"] for r in scores if r["target"] == "growth"
    }
    assert not any("size" in r["features"] for r in scores if r["value"])
    still_open = set_aside(clean_views(derive_songs(songs["youtube"].head(700))))[0]
    used = {
        int(float(r["n_train"])) + int(float(r["n_test"]))
        for r in scores
        if (r["chapter"], r["split"], r["metric"]) == ("17_youtube_predict", "random", "r2")
        and r["value"]
    }
    assert used == {len(still_open)}, "the lockbox stays closed"
    findings = json.loads((out / "findings.json").read_text(encoding="utf-8"))
    assert not any(f["id"].endswith("lockbox") for f in findings)


@pytest.mark.parametrize("kind", [object, "str", "string", "category"])
def test_the_lockbox_has_the_same_artists_in_every_table(songs, kind):
    whole = derive_songs(songs["youtube"])
    away = set(set_aside(whole)[1]["Artist"])
    some = clean_songs(whole)[0].sample(frac=0.5, random_state=3)
    still_open, locked = set_aside(some.assign(Artist=some["Artist"].astype(kind)))
    assert set(locked["Artist"]) == away & set(some["Artist"])
    assert not set(still_open["Artist"]) & away and len(still_open) + len(locked) == len(some)
    assert 0.03 < len(away) / whole["Artist"].nunique() < 0.2


def test_songs_of_the_lockbox_that_were_learned_from_are_not_asked(songs):
    still_open, locked = set_aside(clean_songs(derive_songs(songs["youtube"]))[0])
    known = locked.iloc[[0]].assign(Artist=still_open["Artist"].iloc[0])  # under a second artist
    asked = unseen_songs(locked, pd.concat([still_open, known], ignore_index=True))
    codes = song_keys(pd.concat([known, asked], ignore_index=True))
    assert len(asked) < len(locked) and not any((c[1:] == c[0]).any() for c in codes)


def test_fewer_rows_than_folds_take_is_one_line(songs, tmp_path):
    code, said, out = report_songs(tmp_path, LATER[1], youtube=songs["youtube"].head(110))
    assert code == 1 and status_of(LATER[1], out) == "failed"
    assert (
        "training rows for 2 folds and up to 40 neighbours" in said.replace("\n", " ")
        and "Traceback" not in said
    ), said


@pytest.mark.real
def test_the_real_songs(real_data):
    if load("youtube", str(real_data)).attrs["provenance"].kind != "real":
        pytest.skip("no Spotify_Youtube.csv in the data folder")
    songs, log = clean_songs(load_songs(str(real_data))[0])
    rows = log.set_index("rule")["rows"]
    assert len(songs) == log["after"].iloc[-1] == 15_723
    assert rows["repeated video"] == 1_698 and rows["impossible counts"] == 0
    children = songs[songs["is_children"]]
    assert children["Channel"].eq("Cocomelon - Nursery Rhymes").sum() == 10
    seen = songs["Views"] >= 100_000
    closed = songs["Comments"].fillna(0).eq(0)
    assert closed[children.index].all() and closed[seen & ~songs["is_children"]].mean() < 0.02
