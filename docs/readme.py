"""README.md from nbs/index.ipynb."""

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

from musicnb.book.reference import answers_markdown, read_reference

ROOT = Path(__file__).resolve().parent.parent
NONE = "No such run is kept yet: run the full profile on real data, then `make reference`."


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


def with_answers(markdown: str, charts: str) -> str:
    "What the reference run found, in the place that is kept for it."
    return markdown.replace("<!-- answers -->", answers_markdown(read_reference(), charts) or NONE)
