"""Pages that are written by hand, and how the project is cited."""

from pathlib import Path

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = DOCS / "pages"
ABOUT = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def written_pages() -> dict[str, str]:  # path within the site -> Markdown
    "The pages below docs/pages, and those that stand in the root of the clone."
    pages = {p.relative_to(PAGES).as_posix(): p for p in sorted(PAGES.rglob("*.md"))}
    pages |= {name: ROOT / source for name, source in ABOUT.items()}
    return {name: p.read_text(encoding="utf-8") for name, p in pages.items()}


def cite_page() -> str:
    "How to cite, from CITATION.cff."
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(a["name"] for a in known["authors"])
    fields = {
        "title": f"{{{known['title']}}}",
        "author": f"{{{{{authors}}}}}",
        "version": f"{{{known['version']}}}",
        "note": f"{{{known['license']}}}",
    }
    entry = ",\n".join(f"  {name} = {value}" for name, value in fields.items())
    return "\n".join(
        [
            "# How to cite",
            "",
            f"> {known['message']}",
            "",
            f"```bibtex\n@software{{musicnb,\n{entry}\n}}\n```",
            "",
            "A number is cited with its run: the commit and the hashes of the data stand in the "
            "report's `run.json`, and each finding has an id that stays.",
            "",
            "The data are their owners'. Where they are from and under which licence stands in the "
            "[data cards](data-cards.md).",
            "",
        ]
    )
