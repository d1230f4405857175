"""The page of the command line, from the commands themselves."""

import typer
from api import plain

from musicnb.book.cli import app


def cli_page() -> str:
    "Every command of `musicnb`: how it is called, its arguments and options, and what they mean."
    lines = ["# Command line", "", "> Every command of `musicnb`, as `--help` says it.", ""]
    for path, command in walk("musicnb", typer.main.get_command(app)):
        lines += describe(path, command)
    return "\n".join(lines) + "\n"


def walk(path: str, command):
    "A command and those below it, each with its words: `musicnb data fetch`."
    yield path, command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from walk(f"{path} {name}", below)


def describe(path: str, command) -> list[str]:
    "A command as Markdown; a group of commands has no call of its own."
    group = bool(getattr(command, "commands", None))
    with command.make_context(path, [], resilient_parsing=True) as context:
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        records = [p.get_help_record(context) for p in command.get_params(context)]
    rows = [
        f"| `{escape(name)}` | {escape(plain(words))} |"
        for name, words in filter(None, records)
        if name != "--help"
    ]
    lines = [f"{'##' if group else '###'} {path}", "", plain(command.help or ""), ""]
    lines += [] if group else ["```text", usage, "```", ""]
    return lines + ["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else lines


def escape(text: str) -> str:
    "Text for a cell of a Markdown table."
    return text.replace("|", r"\|")
