"""The full profile outside the runner: JupyterLab and papermill take its values, and say so."""

import nbformat
import pytest
from conftest import chapter

from musicnb.book.chapter import in_range
from musicnb.book.report import read_selection
from musicnb.core import need_root

PARAMETERS = """profile: str = "quick"
seed: int = 1
sample: int = 500  # rows
trees: int = 10
full: dict = {"sample": 0, "trees": 100}"""
CELLS = (
    'from musicnb.core import Run\nrun = Run("26_popularity_test", profile=profile)',
    "print(sample, trees)",
)


def run_plain(folder, **values) -> list[str]:  # what its cells printed
    "The chapter with plain papermill."
    import papermill

    nbformat.write(chapter(*CELLS, parameters=PARAMETERS), folder / "test.ipynb")
    done = papermill.execute_notebook(
        str(folder / "test.ipynb"), None, values, progress_bar=False, kernel_name="python3"
    )
    return [o.text.strip() for c in done.cells if c.cell_type == "code" for o in c.outputs]


@pytest.mark.parametrize(
    "values, printed",
    [
        ({}, ["500 10"]),
        ({"profile": "full"}, ["full profile: sample = 0, trees = 100", "0 100"]),
        ({"profile": "full", "trees": 10}, ["full profile: sample = 0", "0 10"]),
        ({"profile": "full", "sample": 7, "trees": 3}, ["7 3"]),
    ],
)
def test_papermill_takes_the_full_values(tmp_path, values, printed):
    assert run_plain(tmp_path, **values) == printed


def test_the_runner_keeps_what_it_was_asked_for(clone):
    clone.add("26_popularity_test", *CELLS, parameters=PARAMETERS)
    done = clone.run("report", "--profile", "full", "-p", "sample=500", "--data-dir", "twin")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = clone.root / "reports" / "full" / "notebooks" / "26_popularity_test.ipynb"
    printed = [o.text for c in nbformat.read(ran, 4).cells for o in c.get("outputs", [])]
    assert printed == ["500 100\n"]


def test_values_of_both_profiles_are_within_their_comments_ranges():
    for made in read_selection([], need_root() / "nbs").values():
        quick = {name: p.default for name, p in made.parameters.items()}
        for name, value in [*quick.items(), *made.value("full", {}).items()]:
            assert in_range(value, made.parameters[name]), f"{made.stem}: {name} = {value}"
