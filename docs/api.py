"""API entries: what a cell exports, with the comments that explain each parameter."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from nbdev.showdoc import show_doc

VALUE_LENGTH = 80  # characters of a constant that are shown


@dataclass(frozen=True)
class Entry:
    "One exported name, to be written as a directive of Sphinx's Python domain."

    module: str  # "musicnb.core"
    name: str  # "atomic_path", "Run.finding"
    directive: str  # function, class, exception, method, property or data
    signature: str  # "(path: Path | str) -> Path", empty for data
    text: str  # the docstring
    fields: tuple[str, ...] = ()  # ":param path: the final name"

    @property
    def target(self) -> str:
        "The fragment under which the entry stands in its page."
        return f"{self.module}.{self.name}"

    @property
    def promise(self) -> str:
        "The docstring's first paragraph, on one line."
        return " ".join(self.text.split("\n\n")[0].split())

    def markdown(self) -> str:
        "The entry as MyST Markdown."
        body = "\n".join([self.text, "", *self.fields])
        head = f"{{py:{self.directive}}} {self.name}{self.signature}\n:module: {self.module}"
        return f"`````{head}\n\n{body}\n`````"


class _Verbatim:
    "Stands in a signature for a type or a default, and shows as the given text."

    def __init__(self, text: str):
        self.text = text

    def __repr__(self):
        return self.text


def _type(annotation):
    "A type by its last name: `pathlib.Path` is `Path`."
    if annotation is inspect.Signature.empty or annotation is None:
        return inspect.Signature.empty
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _Verbatim("Any" if "<" in text else re.sub(r"\b(?:\w+\.)+(?=\w)", "", text))


def _default(value):
    "A default as Python: what has no such repr shows its name."
    return (
        _Verbatim(getattr(value, "__name__", "..."))
        if value is not inspect.Signature.empty and "<" in repr(value)
        else value
    )


def signature(sig: inspect.Signature) -> str:
    "A signature as a reader wants it: without `self`, types by their last name."
    kept = [
        p.replace(annotation=_type(p.annotation), default=_default(p.default))
        for p in sig.parameters.values()
        if p.name != "self"
    ]
    return str(sig.replace(parameters=kept, return_annotation=_type(sig.return_annotation)))


def plain(
    text: str,  # a docstring or a comment
) -> str:  # Markdown
    """Text that shows as written: only `code` keeps its meaning, neither `<tags>` nor `$` nor `*`
    act."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        p if p.startswith("`") else re.sub(r"[\\<>*$\[\]{}]", r"\\\g<0>", p) for p in parts
    )


@cache
def describe(
    module: str,  # "musicnb.core"
    name: str,  # "atomic_path", "Run.finding"
) -> Entry:
    """Look up an exported name. Parameters are described by the comments that `show_doc` finds
    beside them."""
    owner = import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    symbol = getattr(owner, last)
    if isinstance(symbol, dict | list | tuple | set | frozenset | str | int | float):
        value = repr(symbol)
        value = value if len(value) <= VALUE_LENGTH else value[:VALUE_LENGTH] + " …"
        return Entry(module, name, "data", "", f"`` {value} ``")
    if not (inspect.isclass(symbol) or inspect.isroutine(symbol) or isinstance(symbol, property)):
        return Entry(module, name, "data", "", f"An object of type `{type(symbol).__name__}`.")
    if isinstance(symbol, property):
        return Entry(module, name, "property", "", plain(inspect.getdoc(symbol) or ""))
    doc, text = show_doc(symbol), plain(inspect.getdoc(symbol) or "")
    kind = "class" if inspect.isclass(symbol) else "method" if outer else "function"
    if inspect.isclass(symbol) and issubclass(symbol, Exception):
        kind = "exception"
    comments = {
        k: plain(v["docment"]) for k, v in getattr(doc.dm, "dm", {}).items() if v.get("docment")
    }
    fields = [
        f":returns: {text}" if key == "return" else f":param {key}: {text}"
        for key, text in comments.items()
    ]
    if inspect.isclass(symbol) and "__init__" not in vars(
        symbol
    ):  # signature and comments are its parent's
        return Entry(module, name, kind, "", text)
    return Entry(module, name, kind, signature(doc.sig) if doc.sig else "", text, tuple(fields))


def exported_names(
    source: str,  # a cell
) -> Iterator[str]:
    """The public names that a cell defines: functions, classes with their methods, methods patched
    on, constants."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
            members = (n.name for n in node.body if isinstance(n, ast.FunctionDef))
            yield from (f"{node.name}.{m}" for m in members if not m.startswith("_"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
            "_"
        ):
            first = node.args.args[0] if node.args.args else None
            patched = first and first.arg == "self" and isinstance(first.annotation, ast.Name)
            yield f"{first.annotation.id}.{node.name}" if patched else node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (
                n.id for t in targets for n in getattr(t, "elts", [t]) if isinstance(n, ast.Name)
            )  # INK, GRID = …
            yield from (n for n in names if not n.startswith("_"))
