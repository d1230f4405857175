"""The docs site: built without a warning, whole, closed to the outside, and in step with package
and README."""

import importlib
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build
import cells
import commands
import handwritten
import nbformat
import pytest
import readme
import typer
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT, need_chromium, reopened
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from musicnb import __version__
from musicnb.book.chapter import chapter_stems
from musicnb.book.cli import app
from musicnb.book.reference import QUESTIONS, Reference
from musicnb.core import UserError

pytestmark = pytest.mark.xdist_group("docs")  # one process builds the site, not each

EVIL = "<script>window.hacked = 1</script>"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt" viewBox="0 0 72 36">'
    '<rect width="60" height="20" fill="#0072b2"/></svg>'
)
CHAPTERS = chapter_stems(ROOT / "nbs")
EXPORTED = {cells.default_module(nb): stem for stem, nb in build.notebooks().items()}
MODULES = sorted(name for name in EXPORTED if name)
RAN = "90_ledger"  # the one chapter that is well in the report below
NARROW = ("index", "cli", "api/musicnb.core", "data-cards", "how-to/own-chapter", "tools/00b_core")
NARROW += ("explanation/protocols", f"chapters/{RAN}")


def ran() -> nbformat.NotebookNode:
    "A chapter as a run leaves it, with text from strangers in its outputs."

    def shown(data, **metadata):
        return new_output("display_data", data, metadata=metadata)

    outputs = [
        shown(
            {"image/svg+xml": SVG, "text/plain": "x"},
            musicnb={"caption": f"A bar {EVIL}.", "alt": "a bar"},
        ),
        shown({"text/html": f"<table><tr><td>{EVIL}</td></tr></table>"}),
        shown({"text/markdown": f"**{EVIL}**"}),
        shown({"application/javascript": "window.hacked = 2", "text/plain": "a script"}),
        shown({"text/html": '<div class="badge badge-twin">twin: 20 rows</div>'}),
        new_output("stream", text=EVIL),
    ]
    return new_notebook(
        cells=[
            new_markdown_cell("# The ledger\n\n> Its promise."),
            new_markdown_cell("Inline $x_1 * x_2$, and [core](00b_core.ipynb)."),
            new_markdown_cell("By [bootstrap](glossary.ipynb#bootstrap)."),
            new_code_cell(
                "seed: int = 1  # of every draw\nsample: int = 5", metadata={"tags": ["parameters"]}
            ),
            new_code_cell(
                "# Parameters\nseed = 7\nsample = 5", metadata={"tags": ["injected-parameters"]}
            ),
            new_code_cell("#| hide\nsecret = 1"),
            new_code_cell("#| echo: false\nquiet = 1"),
            new_code_cell("loud = 2", outputs=outputs),
        ]
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    "A report in which one chapter is well and the others failed."
    folder = tmp_path_factory.mktemp("report")
    (folder / "notebooks").mkdir()
    nbformat.write(ran(), folder / "notebooks" / f"{RAN}.ipynb")
    statuses = [{"chapter": c, "status": "ok" if c == RAN else "failed"} for c in CHAPTERS]
    (folder / "run.json").write_text(json.dumps({"chapters": statuses}))
    for name in ("index", *CHAPTERS):
        (folder / f"{name}.html").write_text(
            '<nav class="where"><a href="index.html">Book</a>'
            '<a href="../../site/elsewhere.html">Docs</a></nav>'
        )
    return folder


@pytest.fixture(scope="module")
def built(report, tmp_path_factory) -> Path:
    "The site; tools that were not executed before stand there without outputs."
    work = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICNB_CACHE", str(work / "cache"))
        assert build.build(report, work / "site", fresh=False) == 0, "Sphinx warned"
    return work / "site"


@pytest.fixture(scope="module")
def pages(built) -> dict[str, BeautifulSoup]:
    return {
        p.relative_to(built).as_posix(): BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser")
        for p in built.rglob("*.html")
    }


def test_each_notebook_has_its_page(pages):
    stems = {p.stem for p in (ROOT / "nbs").glob("*.ipynb")} - {*CHAPTERS, "index"}
    assert {
        "index.html",
        "get-started.html",
        "api/index.html",
        "cli.html",
        "cite.html",
        "changelog.html",
        "contributing.html",
        "data-cards.html",
        "search.html",
        "chapters/index.html",
        "tools/index.html",
        "report/index.html",
    } <= set(pages)
    assert {f"tools/{s}.html" for s in stems} | {f"chapters/{s}.html" for s in CHAPTERS} <= set(
        pages
    )
    written = {Path(name).with_suffix(".html").as_posix() for name in handwritten.written_pages()}
    assert written <= set(pages)


@pytest.mark.parametrize("module", MODULES)
def test_each_exported_name_has_an_entry(pages, module):
    """In the notebook's page, with every comment on a parameter, and in the overview."""
    loaded = importlib.import_module(module)
    page = build.folder_of(EXPORTED[module]) + f"/{EXPORTED[module]}.html"
    for name in loaded.__all__:
        target = f"{module}.{name}"
        entry = pages[page].find(id=target)
        assert entry, f"{target} has no entry"
        assert pages[f"api/{module}.html"].find("a", href=f"../{page}#{target}"), (
            f"{target} is not in the reference"
        )


def test_entries_keep_the_comments_and_the_methods(pages):
    core, files = pages["tools/00b_core.html"], pages["tools/00a_files.html"]
    entry = files.find(id="musicnb.files.find_root").parent.get_text(" ", strip=True)
    assert (
        "where to look first; the working folder by default" in entry
        and "Path | str | None" in " ".join(entry.split())
    )
    listed = " ".join(pages["api/musicnb.files.html"].get_text().split())
    assert "find_root(start: Path | str | None = None)" in listed, "types in the reference"
    assert core.find(id="musicnb.core.Run.finding") and core.find(
        id="musicnb.core.Provenance.badge"
    ), "patched and own methods"


def test_pages_show_no_directives_and_no_hidden_cells(pages):
    for name, page in pages.items():
        code = "\n".join(pre.get_text() for pre in page.select("div.cell_input pre"))
        assert not re.search(r"^#\s*\|", code, re.M), f"a directive is left in {name}"
    shown = pages[f"chapters/{RAN}.html"].find("article").get_text()
    assert "loud = 2" in shown and "secret" not in shown and "quiet" not in shown
    folded = pages[f"chapters/{RAN}.html"].select("details.hide")
    assert any("loud = 2" in fold.get_text() for fold in folded), "code is folded"


def test_links_to_the_glossary_carry_its_words(pages):
    link = pages[f"chapters/{RAN}.html"].find("a", string="bootstrap")
    assert link["data-tip"].startswith("Draw the units of a sample again")


def test_every_command_is_in_the_reference(pages):
    page = pages["cli.html"].find("article").get_text()
    known = dict(commands.walk("musicnb", typer.main.get_command(app)))
    assert {"musicnb report", "musicnb data fetch", "musicnb crawl run"} <= set(known)
    for path, command in known.items():
        assert path in page and (command.help or "").split("\n")[0] in page
        options = {n for p in command.params for n in p.opts if n.startswith("--")} - {"--help"}
        assert all(option in page for option in options)


def test_chapter_says_what_it_ran_on(pages):
    page = pages[f"chapters/{RAN}.html"]
    assert "In this run: seed = 7." in page.find("article").get_text(), (
        "what differs from the defaults, and nothing else"
    )
    assert "Its numbers are not findings" in page.get_text()
    assert page.find("a", href=f"../report/{RAN}.html"), "docs lead to the report"
    back = [a["href"] for a in pages[f"report/{RAN}.html"].select(".where a")]
    assert back == ["index.html", f"../chapters/{RAN}.html"], "and back"
    assert page.select_one("figure svg[role=img][aria-label*='a bar']") and page.find("figcaption")
    assert page.find("math"), "formulas are MathML"


def test_text_from_data_stays_text(pages):
    page = pages[f"chapters/{RAN}.html"]
    assert not [s for s in page.find_all("script") if "hacked" in s.get_text()]
    assert page.find("article").get_text().count("window.hacked = 1") == 4, (
        "caption, table, Markdown, stream"
    )
    assert "window.hacked = 2" not in str(page)


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        ({RAN: "failed"}, "chapter failed"),
        ({RAN: "skipped"}, "was skipped"),
        ({}, "is not part of the report"),
    ],
)
def test_chapter_without_a_run_says_so(tmp_path, statuses, says):
    (tmp_path / "run.json").write_text(
        json.dumps({"chapters": [{"chapter": c, "status": s} for c, s in statuses.items()]})
    )
    page = build.chapter_page(RAN, ran(), build.Report(tmp_path))
    assert (
        page.cells[0].source.startswith("# The ledger")
        and says in page.cells[1].source
        and len(page.cells) == 2
    )


def test_papermill_leaves_no_trace():
    nb = ran()
    nb.cells.insert(
        0,
        new_markdown_cell(
            "<span style='color:red'>An Exception</span>",
            metadata={"tags": ["papermill-error-cell-tag"]},
        ),
    )
    text = nbformat.writes(cells.page(nb))
    assert "An Exception" not in text and "# Parameters" not in text


def test_nothing_is_loaded_from_outside(built, pages):
    outside = re.compile(r"\s*(?:https?:)?//")
    for name, page in pages.items():
        for tag in page.find_all(
            ["script", "link", "img", "iframe", "source", "object", "embed", "video", "audio"]
        ):
            for key in ("src", "href", "srcset", "data"):
                assert not outside.match(tag.get(key, "")), f"{name} loads {tag.get(key)}"
        assert "mathjax" not in str(page.find_all("script")).lower()
    for path in built.rglob("*.css"):
        assert not re.search(
            r"(?:@import|url\()\s*['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")
        ), f"{path.name} loads from outside"


def test_each_internal_link_leads_somewhere(built, pages):
    names = {
        name: {t[key] for key in ("id", "name") for t in page.find_all(attrs={key: True})}
        for name, page in pages.items()
    }
    broken = []
    for name, page in pages.items():
        for link in page.find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            target = (
                (built / name).parent.joinpath(unquote(parts.path)).resolve()
                if parts.path
                else (built / name).resolve()
            )
            page_name = (
                target.relative_to(built.resolve()).as_posix()
                if target.is_relative_to(built.resolve())
                else ""
            )
            fragment = unquote(parts.fragment)
            if (
                not target.is_file()
                or fragment
                and page_name in names
                and fragment not in names[page_name]
            ):
                broken.append(f"{name}: {link['href']}")
    assert not broken


def test_search_knows_the_functions(built):
    index = (built / "searchindex.js").read_text(encoding="utf-8")
    assert "atomic_path" in index and index.startswith("Search.setIndex("), (
        "a script, so that search works from a file"
    )
    prose = (built / "_static" / "snippets.js").read_text(encoding="utf-8")
    texts = json.loads(prose.removeprefix("window.snippets = ").rstrip(";\n"))
    assert dict(texts["tools/glossary"])["bootstrap"].startswith("bootstrap Draw the units")
    assert "musicnb.files.atomic_path" in dict(texts["tools/00a_files"])


def test_tool_is_executed_once_for_each_content(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUSICNB_CACHE", str(tmp_path))
    nb = new_notebook(
        cells=[
            new_code_cell("import os; print(os.environ['MUSICNB_DATA'])"),
            new_code_cell("#| eval: false\n1 / 0"),
        ]
    )
    first = build.execute("00_test", nbformat.from_dict(nb))
    assert first.cells[0].outputs[0].text == "twin\n" and not first.cells[1].outputs, (
        "on the twin; `eval: false` is shown and not run"
    )
    again = nbformat.from_dict(nb)
    again.cells.append(new_markdown_cell("More prose."))
    assert build.execute("00_test", again).cells[0].outputs == first.cells[0].outputs
    assert capsys.readouterr().out.count("running") == 1


def test_links_between_notebooks_become_links_between_pages():
    assert (
        build.relink(f"[a]({RAN}.ipynb#limits) [b](03_data.ipynb)", "tools")
        == f"[a](../chapters/{RAN}.ipynb#limits) [b](03_data.ipynb)"
    )
    assert (
        build.relink(
            "[cards](../data/CARDS.md), [out](https://example.org), [none](../settings.ini)",
            "tools",
        )
        == "[cards](../data-cards.md), [out](https://example.org), none"
    )
    assert (
        build.relink("[own](own-data.md) [start](../get-started.md)", "how-to")
        == "[own](own-data.md) [start](../get-started.md)"
    )
    assert (
        build.relink("[changes](../CHANGELOG.md) [how](../docs/pages/how-to/index.md)", "")
        == "[changes](changelog.md) [how](how-to/index.md)"
    )
    chart = "![What was found.](reference/24_x.svg)"
    assert build.relink(chart, "") == chart


MADE = {"api/index.md", "chapters/index.md", "tools/index.md", "cli.md", "cite.md"}


def test_links_of_written_pages_hold_in_the_clone():
    pages = ROOT / "docs" / "pages"
    for page in pages.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            made = target.is_relative_to(pages) and str(target.relative_to(pages)) in MADE
            assert made or target.is_file(), f"{page.name}: {link}"


def test_folder_of_somebody_else_is_not_touched(report, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        build.build(report, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_missing_report_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["build.py", "--report", str(tmp_path / "none")])
    assert build.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.browser
def test_site_in_a_browser(built):
    """Opened from a file: search finds, both themes are there, nothing is wider than a phone."""
    from selenium.webdriver.support.wait import WebDriverWait

    driver = need_chromium(logs="browser")
    try:
        driver.get(f"{built.as_uri()}/search.html?q=atomic_path")
        found = WebDriverWait(driver, 60).until(
            lambda d: d.find_elements("css selector", "#search-results li a")
        )
        assert "tools/00a_files.html" in found[0].get_attribute("href")
        told = WebDriverWait(driver, 60).until(
            lambda d: d.find_elements("css selector", "#search-results .snippet mark")
        )
        assert told[0].text.lower().startswith("atomic")
        ground = set()
        for theme in ("light", "dark"):
            driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
            ground.add(
                driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            )
        assert len(ground) == 2
        for theme in ("dark", "light"):  # chosen on a report page
            driver.execute_script("localStorage.mode = localStorage.theme = arguments[0]", theme)
            assert reopened(driver, "return document.documentElement.dataset.theme", theme)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        for name in NARROW:
            driver.get(f"{built.as_uri()}/{name}.html")
            assert driver.execute_script(
                "return document.documentElement.scrollWidth <= window.innerWidth"
            ), f"{name} is too wide"
            assert driver.execute_script("return window.hacked") is None
        driver.execute_script("document.querySelector('a[data-tip]').focus()")
        assert driver.find_element("id", "tip").text.startswith("Draw the units")
        driver.find_element("class name", "fold-all").click()
        assert driver.execute_script(
            "return [...document.querySelectorAll('details.hide')].every((d) => d.open)"
        )
        assert not [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    finally:
        driver.quit()


# README


def test_readme_is_in_sync():
    assert (ROOT / "README.md").read_text(encoding="utf-8") == readme.render(), "run `make sync`"


def test_readme_names_each_notebook_and_its_links_hold():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    assert not [link for link in linked if not (ROOT / link).is_file()]
    stems = {p.stem for p in (ROOT / "nbs").glob("[0-9]?*_*.ipynb")} | {"glossary"}
    assert {Path(link).stem for link in linked if link.endswith(".ipynb")} == stems, (
        "the map shows every notebook"
    )


def test_pictures_are_small():
    assert all(p.stat().st_size < 300_000 for p in (ROOT / "docs" / "images").glob("*.png"))


def test_answers_name_their_run():
    question = QUESTIONS[0]
    finding = {"id": question.finding, "chapter": question.chapter, "claim": "It is 0.3."}
    finding |= {"n": 9000, "split": "random"}
    run = {"created": "2026-11-30 10:00 UTC", "commit": "1a2b3c4d5e", "seed": 1}
    run |= {"data": [{"name": "popularity", "rows": 524_800}]}
    key = (question.chapter.partition("_")[2], question.finding)
    told = readme.with_answers("<!-- answers -->", "charts", Reference({key: finding}, run))
    assert "full run of 2026-11-30" in told and "popularity (524,800 rows)" in told
    assert question.text in told and "n = 9,000" in told
    assert readme.with_answers("<!-- answers -->", "charts", Reference({}, {})) == readme.NONE


def test_readme_states_no_number_of_the_data():
    """Rows, days and scores come from the reference run, or from the data cards."""
    source = "\n".join(c.source for c in build.notebooks()["index"].cells)
    assert not re.findall(r"\b\d{1,3}(?:,\d{3})+\b|\bR² of\b", source)


def test_one_version_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
