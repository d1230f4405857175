"""What the reference run found stands beside other runs; a full run says how it came out."""

import json

from musicnb.book.reference import read_reference, write_reference

CHAPTER = """
from musicnb.core import Run
from musicnb.studies.registry import load

run = Run("20_popularity_test", profile=profile, seed=seed)
run.use(load("popularity", data_dir=data_dir, sample=sample))
run.finding(
    "share", "The year tells {value:.0f} %.", 37.0, "share", n=900, unit="%", headline=True
)
run.finding("rest", "The rest is {value:.0f} %.", rest, "share", n=900, unit="%")
"""
PARAMETERS = """profile: str = "quick"
seed: int = 1
data_dir: str = ""
sample: int = 40  # tracks in the quick profile
rest: float = 63.0
full: dict = {"sample": 0}"""


def tracks(folder):
    """Real files of a user, as far as a run can tell."""
    from musicnb.studies.registry import make_twin

    folder.mkdir()
    table = make_twin("popularity", 200, 1)
    table.to_csv(folder / "tracks.csv", index=False)
    return str(folder)


def test_the_reference_stands_beside_other_runs(clone, tmp_path):
    clone.add("20_popularity_test", CHAPTER, parameters=PARAMETERS)
    home, full = tracks(tmp_path / "mine"), tmp_path / "full"
    whole = ("report", "--profile", "full", "--data-dir", home, "--out", str(full))
    done = clone.run(*whole)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reference" not in json.loads((full / "run.json").read_text())
    kept = write_reference(full, clone.root / "reports" / "reference")
    assert home not in (kept / "run.json").read_text()
    assert len(read_reference(kept).findings) == 2

    assert clone.run("report", "--data-dir", "twin").returncode == 0
    page = (clone.out / "20_popularity_test.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "No finding: this run is on synthetic data." in page
    assert "The reference run, on real data, found: The year tells 37 %." in page
    assert "What the reference run found" in page and "63 %" in page

    assert clone.run("report", "--data-dir", home, "-p", "rest=50").returncode == 0
    page = (clone.out / "20_popularity_test.html").read_text()
    assert "Reference run: 37" in page and "reference run: 63" in page

    assert clone.run(*whole, "-p", "rest=50").returncode == 0
    told = json.loads((full / "run.json").read_text())["reference"]
    assert told == {"same": 1, "differs": 1, "differing": ["20_popularity_test: rest"]}
    index = (full / "index.html").read_text()
    assert "1 came out the same, 1 differ" in index
    assert "<code>20_popularity_test: rest</code>" in index
