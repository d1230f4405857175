"""The chapter on classes on what users bring.

One class only, a folder without the crawl, a class with three rows, a target that nobody asked for.
"""

import csv
from functools import partial

import numpy as np
import pytest
from conftest import report_songs, status_of

from musicnb.core import UserError
from musicnb.models.estimators import check_classes
from musicnb.studies.registry import make_twin
from musicnb.studies.youtube import class_target, clean_songs, derive_songs, load_songs
from musicnb.studies.youtube_classes import ask_question, draw_question

CHAPTER = "18_youtube_classes"


@pytest.fixture(scope="module")
def songs() -> dict:
    return {name: make_twin(name, 1_600) for name in ("youtube", "youtube-enriched")}


@pytest.fixture
def report(tmp_path):
    """The command; what it printed in one line."""

    def run(*options, **tables):
        code, said, out = report_songs(tmp_path, CHAPTER, "-p", "trees=5", *options, **tables)
        return code, said.replace("\n", " "), out

    return run


status = partial(status_of, CHAPTER)


def test_without_a_later_crawl_growth_is_not_run(songs, report):
    code, said, out = report(youtube=songs["youtube"])
    assert code == 0 and status(out) == "ok", said
    scores = list(csv.DictReader((out / "scores.csv").open(encoding="utf-8")))
    growth = [r for r in scores if r["target"] == "growth"]
    assert (
        growth
        and not any(r["value"] for r in growth)
        and {r["split"] for r in growth} == {"random", "artist-apart"}
    )
    assert all(
        r["note"].startswith("not run: no later count of views, which 'growth' needs")
        for r in growth
    )
    assert {"TabNet", "TabPFN", "Random forest"} <= {r["model"] for r in growth}
    sized = [
        r
        for r in scores
        if r["target"] == "platform" and "size" in r["features"] and "without" not in r["features"]
    ]
    assert (
        sized
        and not any(r["value"] for r in sized)
        and sized[0]["note"].startswith("not run: these files have no size")
    )
    assert {
        r["model"]
        for r in scores
        if r["target"] == "platform"
        and r["value"]
        and r["features"] == "audio+likes+comments+licensed"
    } > {"Majority", "SVM (RBF)", "TabNet"}
    assert "no later count of views" in (out / f"{CHAPTER}.html").read_text(encoding="utf-8")


def three_on_youtube(table):
    """Three songs have more views than streams."""
    streams = table["Stream"].where(table["official_video"].eq(True))
    return table.assign(Views=np.where(streams.rank(method="first") <= 3, 1e12, 0.0))


def test_too_few_of_a_class_is_one_line(songs, report):
    code, said, out = report(youtube=three_on_youtube(songs["youtube"]))
    assert code == 1 and status(out) == "failed"
    assert "target 'platform' has 3 songs of class 1" in said and "Traceback" not in said, said
    assert "expected 10 or more of each" in said


@pytest.mark.parametrize(
    "change, target, line",
    [
        (lambda t: t.assign(Views=0.0), "platform", "'platform' has 0 songs of class 1"),
        (lambda t: t, "fame", "expected platform, growth, high_views; Views or viewCount"),
        (lambda t: t, "growth", "no later count of views, which 'growth' needs"),
    ],
    ids=["one class only", "no such question", "growth without a crawl"],
)
def test_a_question_that_cannot_be_asked(songs, change, target, line):
    table = clean_songs(derive_songs(change(songs["youtube"])))[0]
    with pytest.raises(UserError) as error:
        draw_question(ask_question(table, target), 0.2)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_part_of_a_split_without_a_class():
    y = np.r_[np.zeros(40), np.ones(4)].astype(int)
    apart = [(np.arange(40), np.arange(40, 44))]
    with pytest.raises(
        UserError,
        match="40 training rows with 0 of class 1 and 40 of class 0; expected 3 or more of each",
    ):
        check_classes(y, apart)


@pytest.mark.real
def test_the_real_songs(real_data):
    songs = clean_songs(load_songs(str(real_data))[0])[0]
    if len(songs) != 15_723:
        pytest.skip("other songs in the data folder")
    side = class_target(songs, "platform")
    assert len(side) == 15_328 and round(100 * side.mean(), 1) == 25.9
    later = class_target(songs, "platform", "viewCount")
    assert (
        len(later) == 4_395 and later.mean() > side.loc[later.index].mean() + 0.1
    )  # views grew, streams stayed
    assert class_target(songs, "high_views", level=18e6).mean() == pytest.approx(
        2_494 / 4_545, abs=0.005
    )  # the published supports
