"""Build the docs site from the notebooks: `python docs/build.py [--report DIR] [--out DIR]`.

The tools' notebooks are executed here, once for each content; the chapters come executed from a
report.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

import cells  # noqa: E402  (the line above makes these importable)
import readme  # noqa: E402
from commands import cli_page  # noqa: E402
from handwritten import ABOUT, cite_page, written_pages  # noqa: E402

from musicnb.book.chapter import chapter_stems, code_of, reached_modules
from musicnb.book.page import docs_anchor  # noqa: E402
from musicnb.core import UserError, cache_dir, file_sha256, write_text  # noqa: E402

TIME_LIMIT = 300  # seconds for one cell of a tool's notebook
SKIP = "skip-execution"  # tag of a cell that is shown and not run


# The notebooks: rooms of the package are executed here, chapters come from the report.


def notebooks() -> dict[str, NotebookNode]:  # stem -> notebook
    "The notebooks of the clone, in the order of the book."
    files = sorted((ROOT / "nbs").glob("*.ipynb"))
    return {p.stem: nbformat.read(p, as_version=4) for p in files}


def content_key(nb: NotebookNode) -> str:
    "What a tool's outputs depend on: its cells, the modules they reach, and the committed data."
    code = code_of(nb.cells)
    parts = [code, sys.version, *sorted(reached_modules(code, ROOT / "musicnb").items())]
    parts += [
        file_sha256(p)
        for p in sorted((ROOT / "data").rglob("*.*"))
        if p.parent.name in ("data", "twins")
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def execute(
    stem: str,
    nb: NotebookNode,
    fresh: bool = True,  # False gives the notebook without outputs when they are not in the cache
) -> NotebookNode:
    "Run a tool's notebook in a kernel of its own, on the twin. The outputs are kept by content."
    kept = cache_dir() / "docs" / "executed" / f"{stem}-{content_key(nb)}.ipynb"
    if kept.is_file():
        done = nbformat.read(kept, as_version=4)
        outputs = {c.id: c.get("outputs", []) for c in done.cells}
        for cell in (c for c in nb.cells if c.cell_type == "code"):
            cell.outputs = outputs.get(cell.id, [])  # prose may have changed since
        return nb
    if not fresh:
        return nb
    for cell in (c for c in nb.cells if c.cell_type == "code"):
        directives = cells.split_directives(cell.source)[0]
        if directives.get("eval") == "false" or {"notest", "slow"} & set(directives):
            cell.metadata.tags = [*cell.metadata.get("tags", []), SKIP]
    print(f"running {stem}", flush=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        tempfile.TemporaryDirectory() as sockets
    ):  # files in place of ports, which others could listen at
        client = NotebookClient(
            nb,
            kernel_name="python3",
            timeout=TIME_LIMIT,
            skip_cells_with_tag=SKIP,
            resources={"metadata": {"path": str(ROOT / "nbs")}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
        )
        try:
            client.execute(
                env=os.environ | {"MUSICNB_DATA": "twin", "PYTHONPATH": os.pathsep.join(paths)}
            )
        except CellExecutionError as e:
            raise RuntimeError(f"nbs/{stem}.ipynb stopped\n{e}") from e
    write_text(kept, nbformat.writes(nb))
    return nb


@dataclass(frozen=True)
class Report:
    "A folder that `musicnb report` wrote."

    folder: Path

    @cached_property
    def statuses(self) -> dict[str, str]:  # chapter -> ok, cached, failed or skipped
        path = self.folder / "run.json"
        return (
            {c["chapter"]: c["status"] for c in json.loads(path.read_text())["chapters"]}
            if path.is_file()
            else {}
        )

    def notebook(self, stem: str) -> NotebookNode | None:
        "The chapter as executed; None if it did not run to its end."
        path = self.folder / "notebooks" / f"{stem}.ipynb"
        whole = self.statuses.get(stem, "ok") in ("ok", "cached")
        return nbformat.read(path, as_version=4) if whole and path.is_file() else None

    def has_page(self, stem: str) -> bool:
        return (self.folder / f"{stem}.html").is_file()

    def copy(self, target: Path) -> None:
        """Put the report's pages and the files that they link to into the site, each page with a
        link to its docs."""
        target.mkdir()
        shutil.copytree(self.folder / "notebooks", target / "notebooks")
        for path in (
            p
            for p in self.folder.iterdir()
            if p.suffix in (".html", ".json", ".csv") and p.is_file()
        ):
            shutil.copyfile(path, target / path.name)
        for page in target.glob("*.html"):
            text = page.read_text(encoding="utf-8")
            write_text(
                page,
                with_docs_link(
                    text, "../index.html" if page.stem == "index" else f"../chapters/{page.name}"
                ),
            )


def with_docs_link(
    page: str,  # HTML of a report page, which may have a link to a site elsewhere
    href: str,  # of its docs
) -> str:
    'The page with the link "Docs" in its bar.'

    def swap(nav: re.Match) -> str:
        others = re.sub(r"<a [^>]*>Docs</a>", "", nav[2])
        return f'{nav[1]}{others}<a href="{href}">Docs</a>{nav[3]}'

    return re.sub(r'(<nav class="where"[^>]*>)(.*?)(</nav>)', swap, page, count=1, flags=re.S)


# The pages: what Sphinx reads.

PAGE_OF = {source: page for page, source in ABOUT.items()}  # CHANGELOG.md -> changelog.md


def relink(
    markdown: str,
    folder: str,  # of the page within the site: "", "chapters", "tools", "how-to" …
) -> str:
    """Links between files of the clone become links between pages of the site; a file without a
    page keeps its name only."""

    def swap(match: re.Match) -> str:
        text, target, fragment = match[1], match[2], docs_anchor(match[3] or "")
        name = Path(target).name
        if re.match(r"[a-z]+:", target):
            return match[0]
        if target.endswith(".ipynb") and (ROOT / "nbs" / name).is_file():
            page = "index.ipynb" if name == "index.ipynb" else f"{folder_of(name)}/{name}"
        elif name == "CARDS.md":
            page = "data-cards.md"
        elif name.endswith(".md"):
            page = PAGE_OF.get(name) or page_at(target, folder)
        elif "docs/images/" in target:
            page = f"images/{name}"
        elif target.startswith("reference/"):  # a chart of the reference run
            page = target
        else:
            return text
        return f"[{text}]({os.path.relpath(page, folder or '.')}{fragment})"

    return re.sub(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)", swap, markdown)


def page_at(
    target: str,  # a link to a page written by hand, or to one that is made here
    folder: str,  # of the page that holds the link
) -> str:  # path within the site
    "Links between pages are relative to their files, so that they hold in the clone, too."
    _, written, page = target.rpartition("docs/pages/")
    return page if written else os.path.normpath(f"{folder or '.'}/{target}")


def folder_of(
    name: str,  # of a notebook, with or without .ipynb
) -> str:
    "Where a notebook's page lies: chapters in one folder, rooms of the package in another."
    chapters = chapter_stems(ROOT / "nbs")
    return "chapters" if name.removesuffix(".ipynb") in chapters else "tools"


def folder_in_site(
    page: str,  # its path within the site
) -> str:
    "Where a page lies, empty for the site's own folder."
    return str(Path(page).parent).strip(".")


def chapter_page(stem: str, source: NotebookNode, report: Report) -> NotebookNode:
    "A chapter as it ran, or what is known of one that did not."
    ran = report.notebook(stem)
    note = (
        f'<p class="page-links"><a href="../report/{stem}.html">Report page of this chapter</a></p>'
        if report.has_page(stem)
        else ""
    )
    if ran is None:
        why = {
            "failed": "This chapter failed in the report that this site shows.",
            "skipped": "This chapter was skipped in the report that this site shows, because one "
            "that it depends on failed.",
        }.get(
            report.statuses.get(stem),
            "This chapter is not part of the report that this site shows.",
        )
        if not cells.default_module(
            source
        ):  # a chapter that exports a module documents it all the same
            source.cells = source.cells[:1]
        return cells.page(source, f":::{{warning}}\n{why}\n:::\n\n{note}", fold=True)
    if "badge badge-twin" in nbformat.writes(ran):
        note = (
            ":::{admonition} Synthetic twin\n:class: twin\n"
            "The rows of this run are synthetic. Its numbers are not findings.\n:::\n\n" + note
        )
    return cells.page(ran, note, fold=True)


def listing(heading: str, intro: str, pages: dict[str, NotebookNode]) -> str:
    "The first page of a section: each notebook with its promise."
    rows = [
        f"[{cells.title(nb)}]({stem}.ipynb)\n: {cells.promise(nb)}\n" for stem, nb in pages.items()
    ]
    return "\n".join(
        [
            f"# {heading}",
            "",
            intro,
            "",
            *rows,
            "",
            "```{toctree}",
            ":hidden:",
            "",
            *pages,
            "```",
            "",
        ]
    )


def api_pages(exporting: dict[str, NotebookNode]) -> dict[str, str]:  # path within the site -> page
    "A page for each module: every exported name with its types, linked to its entry."
    pages, listed = {}, []
    for stem, nb in exporting.items():
        if found := cells.entries(nb):
            module, promise = cells.default_module(nb), cells.promise(nb)
            lines = [f"# {module}", "", f"> {promise}", "", f"[Notebook]({stem}.ipynb)", ""]
            pages[f"api/{module}.md"] = "\n".join([*lines, *map(api_entry, found)])
            listed.append(f"[{module}]({module}.md)\n: {promise}\n")
    tree = ["```{toctree}", ":hidden:", "", *(Path(p).stem for p in pages), "```", ""]
    intro = (
        "Every name that the package exports, a page for each module. A name links to its entry, "
        "which stands beside the cell that defines it, with each parameter's meaning and examples."
    )
    return pages | {"api/index.md": "\n".join(["# API", "", intro, "", *listed, "", *tree])}


def api_entry(entry) -> str:
    "A name with its types and its promise, linked to its entry."
    types = f"\n\n  ```python\n  {entry.name}{entry.signature}\n  ```" if entry.signature else ""
    return (
        f"{{py:obj}}`{entry.name} <{entry.target}>`\n: {entry.promise or entry.directive}{types}\n"
    )


def cell_text(markdown: str) -> str:
    "Markdown for a cell of a table."
    return markdown.replace("|", r"\|")


SECTIONS = (
    "get-started",
    "how-to/index",
    "chapters/index",
    "reference",
    "explanation/index",
    "about",
)
ELSEWHERE = (
    "Your own data",
    "Runs of your own",
    "Predictions",
    "The crawl",
    "How to read",
    "The map",
)


def index_page(nb: NotebookNode) -> NotebookNode:
    """The front page: the README's notebook without what has pages of its own, its picture as the
    theme wants it, and the site's tree."""
    own = tuple(f"## {heading}" for heading in ELSEWHERE)
    nb.cells = [c for c in nb.cells if not c.source.startswith(own)]
    for cell in nb.cells:
        cell.source = re.sub(r"<picture>.*?</picture>", picture, cell.source, flags=re.S)
        cell.source = readme.with_answers(cell.source, "reference")
    tree = ["```{toctree}", ":hidden:", "", *SECTIONS, "```"]
    nb.cells.append(new_markdown_cell("\n".join(tree)))
    return cells.page(nb)


def picture(match: re.Match) -> str:
    "A `<picture>` of a light and a dark image, as the two images that the theme switches between."
    files = dict(
        zip(("dark", "light"), re.findall(r'src(?:set)?="[^"]*?([^"/]+)"', match[0]), strict=True)
    )
    alt = re.search(r'alt="([^"]*)"', match[0])[1]
    return "\n\n".join(
        f"```{{image}} images/{files[mode]}\n:class: only-{mode}\n:alt: {alt}\n```"
        for mode in ("light", "dark")
    )


def write_pages(folder: Path, report: Report, fresh: bool) -> None:
    "Write what Sphinx reads. Only what changed is written, so that Sphinx reads only that."
    found = notebooks()
    index = found.pop("index")
    chapters = {s: found.pop(s) for s in chapter_stems(ROOT / "nbs")}
    tools = found
    with ThreadPoolExecutor(2) as pool:
        executed = dict(
            zip(tools, pool.map(lambda s: execute(s, tools[s], fresh), tools), strict=True)
        )
    pages = {
        f"tools/{s}": cells.page(nb, clean=False) for s, nb in executed.items()
    }  # no text from strangers there
    pages |= {f"chapters/{s}": chapter_page(s, nb, report) for s, nb in chapters.items()}
    pages["index"] = index_page(index)
    texts = {
        "chapters/index.md": listing(
            "Chapters",
            "The book in its order. Each chapter is a notebook; here it stands as it ran for the "
            "report.",
            chapters,
        ),
        "tools/index.md": listing(
            "Tools",
            "The notebooks that document, test and export the package: tools, and a room for each "
            "study. Each builds only on those above it.",
            {s: nb for s, nb in tools.items() if s != "glossary"},
        ),
        "data-cards.md": (ROOT / "data" / "CARDS.md").read_text(encoding="utf-8"),
    }
    hand = written_pages() | {"cli.md": cli_page(), "cite.md": cite_page()}
    hand |= api_pages(
        {s: nb for s, nb in (tools | notebooks()).items() if cells.default_module(nb)}
    )
    texts |= {name: relink(text, folder_in_site(name)) for name, text in hand.items()}
    for name, nb in pages.items():
        for cell in (c for c in nb.cells if c.cell_type == "markdown"):
            cell.source = relink(cell.source, folder_in_site(name))
        texts[f"{name}.ipynb"] = nbformat.writes(nb)
    for old in folder.rglob("*.*"):
        if str(old.relative_to(folder)) not in texts and old.suffix in (".md", ".ipynb"):
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    shutil.copytree(DOCS / "images", folder / "images", dirs_exist_ok=True)
    for chart in (ROOT / "reports" / "reference").glob("*.svg"):
        write_text(folder / "reference" / chart.name, chart.read_text(encoding="utf-8"))


# The site.


def build(
    report: Path,  # what `musicnb report` wrote
    out: Path,  # the site's folder
    fresh: bool = True,  # run the tools whose outputs are not in the cache
) -> int:  # 0, or 1 if Sphinx warned
    "Build the whole site aside, then put it in its place."
    from sphinx.cmd.build import main as sphinx

    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").is_file():
        raise UserError(
            f"'{out}' holds something else than a docs site",
            "an empty folder or a site built before",
            "name another with --out",
        )
    work, made = cache_dir() / "docs", Report(report)
    write_pages(work / "pages", made, fresh)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as aside:
        site = Path(aside) / "site"
        if failed := sphinx(
            [
                "-W",
                "--keep-going",
                "-q",
                "-b",
                "html",
                "-c",
                str(DOCS),
                "-d",
                str(work / "doctrees"),
                str(work / "pages"),
                str(site),
            ]
        ):
            return failed
        for rest in (".buildinfo", "objects.inv"):
            (site / rest).unlink(missing_ok=True)
        made.copy(site / "report")
        with contextlib.suppress(FileNotFoundError):
            out.rename(Path(aside) / "old")
        site.rename(out)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the docs site from the notebooks.")
    parser.add_argument(
        "--report",
        type=Path,
        default=ROOT / "reports" / "quick",
        help="a folder that `musicnb report` wrote",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="the site's folder")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="write README.md from nbs/index.ipynb, and nothing else",
    )
    args = parser.parse_args()
    try:
        if args.readme:
            write_text(ROOT / "README.md", readme.render())
            return 0
        if not (args.report / "notebooks").is_dir():
            raise UserError(
                f"no report in '{args.report}'",
                "a folder that `musicnb report` wrote",
                "run `make report` first",
            )
        code = build(args.report.resolve(), args.out.resolve())
    except UserError as e:
        print(e, file=sys.stderr)
        return 2
    except RuntimeError as e:
        print(e, file=sys.stderr)
        return 1
    if not code:
        print(args.out.resolve() / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
