"""Turn an executed notebook into the notebook that Sphinx shows."""

import ast
import re
from copy import deepcopy

import api
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from musicnb.book.page import clean_html, dress_tables, figure_html, mathml

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(.+?)\s*$")


def split_directives(
    source: str,
) -> tuple[dict[str, str], str]:  # {"export": "", "eval": "false"}, the source without them
    "Take nbdev's directives (`#| export`) off a cell."
    lines, found = source.split("\n"), {}
    while lines and (match := DIRECTIVE.match(lines[0])):
        words = match[1].replace(":", " ").split()
        found[words[0]] = " ".join(words[1:])
        lines.pop(0)
    return found, "\n".join(lines).strip("\n")


def title(nb: NotebookNode) -> str:
    "The notebook's `# title`."
    return next(
        line[2:].strip()
        for c in nb.cells
        if c.cell_type == "markdown"
        for line in c.source.split("\n")
        if line.startswith("# ")
    )


def promise(nb: NotebookNode) -> str:
    "The notebook's `> promise`, empty if it has none."
    return next(
        (
            line[2:].strip()
            for c in nb.cells
            if c.cell_type == "markdown"
            for line in c.source.split("\n")
            if line.startswith("> ")
        ),
        "",
    )


def default_module(nb: NotebookNode) -> str:
    "The module that the notebook exports, empty if there is none."
    found = (
        split_directives(c.source)[0].get("default_exp") for c in nb.cells if c.cell_type == "code"
    )
    return next((f"musicnb.{name}" for name in found if name), "")


def entries(nb: NotebookNode) -> list[api.Entry]:
    "API entries of all names that a notebook exports, in its order."
    return [
        e
        for c in nb.cells
        if c.cell_type == "code"
        for e in _cell_entries(c.source, default_module(nb))
    ]


def _cell_entries(source: str, default: str) -> list[api.Entry]:
    directives, code = split_directives(source)
    if "export" not in directives and "exports" not in directives:
        return []
    named = directives.get("export") or directives.get("exports")
    return [
        api.describe(f"musicnb.{named}" if named else default, n) for n in api.exported_names(code)
    ]


def page(
    nb: NotebookNode,  # as executed
    note: str = "",  # Markdown that goes below title and promise
    clean: bool = True,  # hold the outputs' HTML against the report's list of what is harmless
    fold: bool = False,  # all code, as on the report page, not only what is exported
) -> NotebookNode:
    """The notebook for Sphinx: no directives, hidden cells gone, exported cells as an API entry
    above their folded source."""
    nb, module, kept = deepcopy(nb), default_module(nb), []
    for cell in nb.cells:
        tags = cell.metadata.setdefault("tags", [])
        if "injected-parameters" in tags:
            kept.append(
                new_markdown_cell(changed_values(kept[-1].source if kept else "", cell.source))
            )
        elif cell.cell_type == "code":
            kept += _code(cell, module, clean, fold)
        elif "papermill-error-cell-tag" not in tags:
            kept.append(cell)
    top = [note] if note else []
    if module:
        top.append(f"```{{py:module}} {module}\n```")
    kept[1:1] = [new_markdown_cell(text) for text in top]
    nb.cells = kept
    nb.metadata = NotebookNode(
        {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    )  # papermill's notes stay out
    return nb


def _code(cell: NotebookNode, module: str, clean: bool, fold: bool) -> list[NotebookNode]:
    tags = cell.metadata.tags
    directives, code = split_directives(cell.source)
    if "hide" in directives or not code:
        return []
    found = _cell_entries(cell.source, module)
    if fold or "export" in directives:
        tags.append("hide-input")
    if directives.get("echo") == "false" or "hide_input" in directives:
        tags.append("remove-input")
    cell.source = code
    for output in cell.get("outputs", []):
        _output(output, clean)
    return [new_markdown_cell(e.markdown()) for e in found] + [cell]


def changed_values(
    defaults: str,  # source of the parameters cell
    injected: str,  # source of the cell that papermill put after it
) -> str:  # Markdown
    "Which parameters had another value than their default in this run."

    def values(source):
        pairs = (
            (n.targets[0] if isinstance(n, ast.Assign) else n.target, n.value)
            for n in ast.parse(source).body
            if isinstance(n, ast.Assign | ast.AnnAssign) and n.value
        )
        return {target.id: ast.literal_eval(value) for target, value in pairs}

    before = values(defaults)
    changed = [f"`{n} = {v!r}`" for n, v in values(injected).items() if before.get(n) != v]
    return (
        "In this run: " + ", ".join(changed) + "." if changed else "In this run: the values above."
    )


def _output(output: NotebookNode, clean: bool) -> None:
    "Figures and tables become what they are on the report page; text from data stays text."
    if output.output_type not in ("display_data", "execute_result"):
        return
    data = output.data
    if "musicnb" in output.metadata or {"image/svg+xml", "image/png"} & set(data):
        shown = figure_html(output)
    elif "text/html" in data:
        shown = dress_tables(clean_html(data["text/html"]) if clean else data["text/html"])
    elif "text/markdown" in data:
        shown = clean_html(HTMLExporter().markdown2html({}, mathml(data["text/markdown"])))
    else:
        shown = None
    output.data = NotebookNode(
        {"text/html": shown} if shown else {"text/plain": data.get("text/plain", "")}
    )
