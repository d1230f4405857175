"""README.md from nbs/index.ipynb."""

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

from musicnb.book.reference import Reference, answers_markdown, read_reference

ROOT = Path(__file__).resolve().parent.parent
NONE = "No run on real data is kept yet: run the full profile on it, then `make reference`."


def render() -> str:
    "The notebook as Markdown, with links that hold in the root of the clone."
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = with_answers(from_root(cell.source), "reports/reference")
    text, _ = MarkdownExporter().from_notebook_node(nb)
    return "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"


def from_root(markdown: str) -> str:
    "`../data/CARDS.md` is `data/CARDS.md` from there, `00b_core.ipynb` is `nbs/00b_core.ipynb`."
    markdown = re.sub(r"(\]\(|src=\"|srcset=\")\.\./", r"\1", markdown)
    return re.sub(r"\]\((\w+\.ipynb)", r"](nbs/\1", markdown)


def with_answers(
    markdown: str,
    charts: str,  # folder of the charts, as seen from the page
    reference: Reference | None = None,  # that of the clone by default
) -> str:
    "What the reference run found, in the place that is kept for it."
    reference = reference or read_reference()
    told = answers_markdown(reference, charts)
    return markdown.replace(
        "<!-- answers -->", f"{origin(reference.run)}\n\n{told}" if told else NONE
    )


def origin(
    run: dict,  # the reference's run.json
) -> str:
    "Which run the answers are from: its day, its commit, and the rows of its files."
    read = ", ".join(f"{d['name']} ({d['rows']:,} rows)" for d in run["data"])
    return (
        f"What the full run of {run['created'].split()[0]} found on real data. Each line is a "
        "finding of the book, with its 95 % interval (CI), the number of rows n behind it, and the "
        f"kind of split. It read {read}; commit `{run['commit'][:7]}`, seed {run['seed']}."
    )
