"""The report page: what it shows, what it refuses to run or load, and how it behaves in a browser."""  # noqa: E501

import copy
import json
import re
import time

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, need_chromium, reopened
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from musicnb.book.index import render_index
from musicnb.book.page import (
    clean_html,
    face,
    figure_html,
    inline_svg,
    mathml,
    render_chapter,
)

EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
DRAWING = """
import html
def drawing(label):
    return f'''<svg xmlns="http://www.w3.org/2000/svg" width="360pt" height="90pt" viewBox="0 0 360 90">
    <defs><clipPath id="p1"><rect width="300" height="80"/></clipPath></defs>
    <g clip-path="url(#p1)"><rect width="200" height="40" style="fill: #0072b2"/></g>
    <text x="10" y="70" style="font-size: 10px; fill: #1f2328">{html.escape(label)}</text></svg>'''
def show(data, caption, alt):
    publish_display_data(data, metadata={"musicnb": {"caption": caption, "alt": alt}})
"""  # noqa: E501


def source_notebook(evil=EVIL) -> nbformat.NotebookNode:
    "A small chapter whose track is called `evil`."
    more = [
        new_markdown_cell(f"## Part {i}\n\n" + "Some text. " * 120 + f"\n\n### Detail {i}\n\nMore.")
        for i in range(1, 5)
    ]
    return new_notebook(
        cells=[
            new_markdown_cell(
                "# A chapter about `loudness`\n\n> Songs grew louder, and we say *how much*."
            ),
            new_markdown_cell(
                "## The question\n\nDid songs grow louder?\n\nIt matters to the ear."
            ),
            new_code_cell("seed: int = 1  # the seed", metadata={"tags": ["parameters"]}),
            new_code_cell("seed = 7", metadata={"tags": ["injected-parameters"]}),
            new_code_cell(
                "#| hide\nsecret_setup = 1\nimport pandas as pd, warnings\n"
                "from IPython.display import Markdown, HTML, publish_display_data\nfrom musicnb.core import Run\n"  # noqa: E501
                f"evil = {evil!r}\n" + DRAWING
            ),
            new_code_cell("#| export\ndef louder(x):\n    'Add one.'\n    return x + 1"),
            new_code_cell("print(evil)\nwarnings.warn('quiet')"),
            new_code_cell(
                "pd.DataFrame({'track': [evil, 'Ghost'], 'n': [1, 2]} | {f'feature_number_{i}': [i, i] for i in range(20)})"  # noqa: E501
            ),
            new_code_cell("Markdown('A track: ' + evil)"),
            new_code_cell("HTML('<p>A track: ' + evil + '</p>')"),
            new_code_cell(
                "run = Run('20_popularity_test')\nrun.finding('a', 'The track {value:.0f} is ' + evil, 1.0, 'n')"  # noqa: E501
            ),
            new_code_cell(
                "show({'image/svg+xml': drawing(evil), 'text/plain': 'x'}, 'One ' + evil, 'a bar for ' + evil)"  # noqa: E501
            ),
            new_code_cell(
                "show({'image/svg+xml': drawing('second'), 'text/plain': 'x'}, 'Two', 'a second bar')"  # noqa: E501
            ),
            new_code_cell(
                "show({'text/html': pd.DataFrame({'x': [1.5]}).to_html(), 'text/plain': 'x'}, 'A table', 'a table')"  # noqa: E501
            ),
            new_markdown_cell(
                "A formula $\\hat y = \\beta_0 + \\beta_1 x$ and `$code$`.\n\n$$\n\\sum_i x_i\n$$"
            ),
            *more,
        ]
    )


def execute(nb):
    try:
        NotebookClient(nb, timeout=120, kernel_name="python3").execute()
    except CellExecutionError:
        pass
    return nb


@pytest.fixture(scope="session")
def executed():
    return execute(source_notebook())


def make_cover(**more) -> dict:
    finding = {
        "id": "a",
        "chapter": "20_popularity_test",
        "claim": f"Louder by {EVIL}",
        "metric": "difference",
        "value": 4.123,
        "low": 3.9,
        "high": 4.3,
        "unit": "dB",
        "n": 1234,
        "split": "random",
        "data": "real",
        "headline": True,
    }
    return {
        "chapter": "20_popularity_test",
        "status": "ok",
        "seconds": 3.2,
        "peak_mb": 312.0,
        "profile": "quick",
        "seed": 7,
        "parameters": [
            {"name": "seed", "value": 7, "default": 1, "meaning": "the seed", "changed": True},
            {"name": "artist", "value": EVIL, "default": "", "meaning": EVIL, "changed": True},
        ],
        "data": [
            {
                "name": "popularity",
                "kind": "real",
                "rows": 524_800,
                "sha256": "ab" * 32,
                "source": "tracks.csv.gz",
                "date": "April 2021",
                "licence": "CDLA-Sharing-1.0",
                "note": "",
            }
        ],
        "findings": [
            finding,
            finding | {"id": "b", "headline": False, "claim": "Another", "low": None, "high": None},
        ],
        "error": None,
        "docs_href": "../site/chapters/20_popularity_test.html",
        "versions": {"pandas": "3.1"},
        "commit": "0123456789abcdef",
        "reason": "",
    } | more


@pytest.fixture(scope="session")
def page(executed) -> str:
    return render_chapter(executed, make_cover())


def test_the_cover_says_what_counts(page):
    cover = page[page.index('class="cover"') : page.index("</header>", page.index('class="cover"'))]
    for there in (
        "A chapter about <code>loudness</code>",
        "Songs grew louder",
        "Did songs grow louder?",
        "4.12 dB (95 % CI 3.90 to 4.30)",
        "524,800 rows",
        "1,234",
        "random split",
    ):
        assert there in cover, there
    made = page[page.index("How this page was made") :]
    for there in ("CDLA-Sharing-1.0", "abababababab", "changed"):
        assert there not in cover and there in made, there
    assert page.count("Songs grew louder") == 1, "title and promise are not repeated"
    assert page.count("Did songs grow louder?") == 1, "nor is the question"
    assert '<html lang="en">' in page


def test_directives_parameters_and_hidden_cells_are_not_shown(page):
    assert "#|" not in page and "secret_setup" not in page
    assert "seed: int" not in page and "seed = 7" not in page
    assert 'class="exported"' in page and "louder" in page


def test_figures_have_captions_alternatives_and_ids_of_their_own(page):
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert 'role="img" aria-label="Two a second bar"' in page, "the message first"
    assert 'id="figure-2"' in page and 'href="#figure-2"' in page and 'id="table-1"' in page
    for drawing in BeautifulSoup(page, "html.parser").select("figure svg[aria-label]"):
        assert len(drawing["aria-label"].split()) <= 30
    assert "var(--fig-ink, #1f2328)" in page and "<figcaption>Two<a" in page
    assert "<figcaption>A table<a" in page


def test_formulas_are_mathml(page):
    assert page.count("<math") == 2 and "<code>$code$</code>" in page


def test_strangers_text_stays_text(page):
    assert page.count("<script") == 1, "the page's own script, and no other"
    for element in BeautifulSoup(page, "html.parser").find_all():
        assert not [name for name in element.attrs if name.startswith("on")], element
        assert element.get("src") is None and element.name not in (
            "iframe",
            "object",
            "embed",
            "base",
        ), element
    assert page.count("&lt;script&gt;window.hacked") >= 9
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'", page)


def test_the_same_input_gives_the_same_bytes(executed, page):
    before = copy.deepcopy(executed)
    assert render_chapter(executed, make_cover()) == page
    assert executed == before, "rendering leaves the notebook as it was"


def test_a_page_stays_small(executed):
    nb = copy.deepcopy(executed)
    nb.cells[6].outputs[0].text = "all work and no play\n" * 500_000
    picture = new_output(
        "display_data",
        data={"image/png": "A" * 6_000_000},
        metadata={"musicnb": {"caption": "big", "alt": "big"}},
    )
    nb.cells[7].outputs = [picture, copy.deepcopy(picture)]
    made = render_chapter(nb, make_cover())
    assert len(made.encode()) < 10_000_000
    assert (
        "more characters are in the executed notebook" in made and "This figure is left out" in made
    )


def test_a_twin_has_no_finding(executed):
    cover = make_cover()
    cover["data"][0]["kind"] = "twin"
    made = render_chapter(executed, cover)
    assert "synthetic twin: numbers are not findings" in made and "badge-twin" in made
    assert "Key figures" not in made and "4.12" not in made


@pytest.fixture(scope="session")
def failed():
    nb = source_notebook()
    nb.cells.insert(
        8,
        new_code_cell(
            "#| hide\ndef deep():\n    return {}['<script>window.hacked = 3</script>']\ndeep()"
        ),
    )
    nb = execute(nb)
    # papermill's banner cells are not the chapter's
    nb.cells.insert(
        0,
        new_markdown_cell(
            "<span>An Exception was encountered</span>",
            metadata={"tags": ["papermill-error-cell-tag"]},
        ),
    )
    error = next(o for c in nb.cells for o in c.get("outputs", []) if o.output_type == "error")
    cover = make_cover(
        status="failed",
        findings=[],
        error={
            "ename": error.ename,
            "evalue": error.evalue,
            "traceback": error.traceback,
            "cell": None,
        },
    )
    return render_chapter(nb, cover)


def test_a_failure_page_names_error_and_place(failed):
    assert "KeyError: &#39;&lt;script&gt;window.hacked = 3" in failed
    assert '<a href="#cell-8">cell 8 of' in failed and 'id="cell-8"' in failed, (
        "counted as in the source notebook"
    )
    assert "deep()" in failed and 'class="traceback"' in failed and "\x1b" not in failed
    assert "Part 1" not in failed and "cells after this one did not run" in failed
    assert "An Exception was encountered" not in failed and failed.count("<script") == 1


def test_a_time_limit_leaves_no_error_in_the_notebook():
    nb = source_notebook()
    cover = make_cover(
        status="failed",
        error={"ename": "CellTimeoutError", "evalue": "600 s", "traceback": "", "cell": 6},
        reason="time limit",
    )
    assert "cell 6 of" in render_chapter(nb, cover)
    cover["error"]["cell"] = None
    assert "time limit" in render_chapter(nb, cover)


def test_a_skipped_page_says_why():
    made = render_chapter(
        source_notebook(),
        make_cover(status="skipped", findings=[], reason="20_popularity_eda failed"),
    )
    assert "20_popularity_eda failed" in made and "– skipped" in made
    assert "Part 1" not in made and "notebooks/" not in made


def test_a_bare_notebook_is_a_page_too():
    nb = new_notebook(
        cells=[new_code_cell("1", outputs=[new_output("execute_result", data={"text/plain": "1"})])]
    )
    made = render_chapter(nb, make_cover(parameters=[], findings=[], data=[]))
    assert "<h1>20_popularity_test</h1>" in made and "no single answer" in made


def test_links_between_notebooks():
    nb = new_notebook(
        cells=[
            new_markdown_cell(
                "[a](21_x.ipynb) [b](03_data.ipynb#Load) [c](https://example.org) "
                "[d](#The-question) [e](glossary.ipynb#Brier-score) [f](18_youtube_classes.ipynb)"
            )
        ]
    )
    made = render_chapter(nb, make_cover(pages=["21_x"]))
    for href in (
        "21_x.html",
        "../site/chapters/../tools/03_data.html#load",
        "../site/chapters/../tools/glossary.html#brier-score",
        "../site/chapters/../chapters/18_youtube_classes.html",
        "https://example.org",
        "#s-the-question",
    ):
        assert f'href="{href}"' in made, href
    alone = render_chapter(nb, make_cover(docs_href=None))
    assert "03_data" not in alone and "glossary" not in alone, "a link that leads nowhere is text"
    asks = "# A\n\n> B.\n\n## The question\n\nIs [R²](glossary.ipynb#R²) high?"
    assert "<a" not in face(new_notebook(cells=[new_markdown_cell(asks)]))["question"]


@pytest.mark.parametrize(
    "text, there, gone",
    [
        ("<iframe src='https://example.org'></iframe>", "&lt;iframe", "<iframe"),
        ("<a href='javascript:x()'>a</a>", "a", "javascript"),
        ("<a href='da\nta:text/html,x'>a</a>", "a", "text/html"),
        ("<img src='https://example.org/a.png' alt='b'>", 'alt="b"', "example.org"),
        ("<div style='background: url(https://example.org)'>a</div>", "a", "example.org"),
        ("<svg><script>alert(1)</script></svg>", "&lt;svg", "<script"),
        (
            "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
            "<math",
            "onerror",
        ),
        (
            "<details><summary>s</summary><table><tr><td colspan='2'>1</td></tr></table></details>",
            'colspan="2"',
            "&lt;",
        ),
    ],
)
def test_foreign_html_is_harmless(text, there, gone):
    made = clean_html(text)
    assert there in made and gone not in made


def test_foreign_svg_is_harmless():
    made = inline_svg(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><style>@import "x"</style>'  # noqa: E501
        '<foreignObject><iframe/></foreignObject><a x:href="javascript:1"><rect/></a>'
        '<use x:href="https://example.org/a.svg#b"/><rect onclick="1" style="fill: url(https://example.org)"/></svg>',
        'a "label"',
    )
    assert "example.org" not in made and "javascript" not in made and "onclick" not in made
    assert "foreignObject" not in made and "<style" not in made and "&quot;label&quot;" in made


def test_mathml_survives_markdown():
    made = mathml(r"a $x * y_{i} * z$ b, and prices of $5 or $6")
    assert made.count("<math") == 1 and "$5 or $6" in made
    assert not set("*_`|") & set(
        re.sub(r"</?\w[^>]*>", "", made[made.index("<math") : made.index("</math>")])
    )


def test_figure_html_serves_the_docs_too():
    assert figure_html({"data": {"text/plain": "1"}, "metadata": {}}) is None
    made = figure_html(
        {
            "data": {"image/png": 'AA"><script>'},
            "metadata": {"musicnb": {"caption": "c", "alt": '"'}},
        }
    )
    assert "<script" not in made and 'alt="c &quot;"' in made


def test_the_index():
    chapters = [
        {
            "chapter": "20_a",
            "title": face(source_notebook())["title"],
            "promise": "p",
            "status": "ok",
            "seconds": 62,
            "peak_mb": 300,
            "size_bytes": 2_500_000,
            "href": "20_a.html",
            "headline": EVIL,
            "data": "real",
            "reason": "",
        },
        {
            "chapter": "21_b",
            "title": EVIL,
            "promise": "",
            "status": "skipped",
            "seconds": 0,
            "peak_mb": 0,
            "size_bytes": 9,
            "href": "21_b.html",
            "headline": "",
            "data": "",
            "reason": "20_a failed",
        },
    ]
    made = render_index(
        {
            "title": "What makes a song popular?",
            "profile": "quick",
            "seed": 1,
            "data": [],
            "chapters": chapters,
            "ledger_counts": {"not run": 5, "refuted": 0},
            "reproduce": "musicnb report",
            "versions": {},
            "commit": "",
        }
    )
    for there in (
        "1 min 2 s",
        "2.5 MB",
        "20_a failed",
        "5 not run.",
        "scores.csv",
        "ledger.csv",
        "run.json",
        "findings.json",
        "musicnb report",
    ):
        assert there in made, there
    assert made.count("<script") == 1 and made.index("20_a.html") < made.index("21_b.html")


# -- in a browser ---------------------------------------------------------------------------------------------------------  # noqa: E501


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    made = need_chromium(
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", logs="browser performance"
    )
    yield made
    made.quit()


def resize(browser, width, height):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


@pytest.fixture
def opened(browser, page, tmp_path):
    "The page, freshly opened in a window of a desk's size, with nothing remembered."
    path = tmp_path / "20_popularity_test.html"
    path.write_text(page, encoding="utf-8")
    resize(browser, 1280, 900)
    browser.get(path.as_uri())
    browser.execute_script("localStorage.clear()")
    assert reopened(browser, "return localStorage.length", 0)
    for kind in ("performance", "browser"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    return browser


def wait_for(browser, script, seconds=60):
    "Until `script` is true."
    end = time.monotonic() + seconds
    while not (got := browser.execute_script(script)) and time.monotonic() < end:
        time.sleep(0.05)
    return got


@pytest.mark.browser
def test_contents_lead_and_mark(opened):
    links = opened.find_elements("css selector", ".toc a")
    assert [a.text for a in links][:3] == ["The question", "Part 1", "Detail 1"]
    opened.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    for i in (3, 1, 5):
        links[i].click()
        top = "document.getElementById(arguments[0]).getBoundingClientRect().top"
        name = links[i].get_attribute("href").partition("#")[2]
        assert wait_for(
            opened, f"return document.querySelector('.toc a[aria-current]')?.hash === '#{name}'"
        ), name
        assert 0 <= opened.execute_script(f"return {top}", name) < 200, (
            "the heading is in sight, below the bar"
        )
    assert len(opened.find_elements("css selector", ".toc a[aria-current]")) == 1
    assert (
        opened.execute_script("return document.querySelector('.toc').getBoundingClientRect().top")
        >= 0
    ), "contents stay in sight"


@pytest.mark.browser
def test_show_all_code_opens_and_closes(opened):
    cells = "document.querySelectorAll('details.code')"
    count = opened.execute_script(f"return {cells}.length")
    assert count >= 6 and opened.execute_script(f"return [...{cells}].every(d => !d.open)")
    button = opened.find_element("id", "code")
    button.click()
    assert (
        opened.execute_script(f"return [...{cells}].every(d => d.open)")
        and button.text == "Hide all code"
    )
    button.click()
    assert (
        opened.execute_script(f"return [...{cells}].every(d => !d.open)")
        and button.text == "Show all code"
    )


@pytest.mark.browser
def test_the_theme_changes_page_and_figures(opened):
    look = (
        "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"  # noqa: E501
        " getComputedStyle(document.querySelector('.figure svg text')).fill, getComputedStyle(document.querySelector('.figure svg rect[style]')).fill]"  # noqa: E501
    )
    button = opened.find_element("id", "theme")
    seen = {}
    for name in ("light", "dark"):
        button.click()
        assert button.text == f"Theme: {name}"
        seen[name] = opened.execute_script(look)
    assert all(a != b for a, b in zip(seen["light"], seen["dark"], strict=False)), seen
    assert reopened(opened, look, seen["dark"]), "remembered"
    assert opened.execute_script("return [localStorage.mode, localStorage.theme]") == [
        "dark",
        "dark",
    ], "where the docs look for it"
    opened.find_element("id", "theme").click()
    for scheme in ("dark", "light"):  # auto follows the system
        opened.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        assert opened.execute_script(look) == seen[scheme]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } };
const poor = [];
for (const d of document.querySelectorAll('details')) d.open = true;
for (const e of document.querySelectorAll('body *')) {
  if (e.closest('svg, .skip') || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
}
return poor;
"""  # noqa: E501


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("which", ["page", "failed"])
def test_text_stands_out_in_both_themes(opened, failed, page, tmp_path, theme, which):
    path = tmp_path / "other.html"
    path.write_text({"page": page, "failed": failed}[which], encoding="utf-8")
    opened.get(path.as_uri())
    opened.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    assert opened.execute_script(CONTRAST) == []


@pytest.mark.browser
def test_nothing_is_loaded_and_nothing_runs(opened):
    assert wait_for(opened, "return document.readyState === 'complete'")
    assert (
        opened.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        == []
    )
    events = [json.loads(e["message"])["message"] for e in opened.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(url.startswith(("file://", "data:,")) for url in asked), asked
    assert len([url for url in asked if url.startswith("file://")]) == 1
    assert opened.execute_script("return window.hacked") is None
    for part in (
        ".cover",
        ".finding",
        "figcaption",
        ".dataframe",
        ".output_markdown",
        ".output_html p",
        ".output_stdout",
    ):
        text = opened.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent).join()",
            part,
        )
        assert "<script>window.hacked = 1</script>" in text, part
    label = opened.execute_script("return document.querySelector('.figure svg text').textContent")
    assert "<script>window.hacked = 1</script>" in label
    assert [e for e in opened.get_log("browser") if e["level"] == "SEVERE"] == []


@pytest.mark.browser
def test_the_policy_is_a_second_lock(browser, page, tmp_path):
    "Even markup that slipped through could not run or load."
    path = tmp_path / "slipped.html"
    path.write_text(
        page.replace(
            "</main>",
            "<script>window.hacked = 1</script><img src='x' onerror='window.hacked = 2'>"
            "<img src='https://example.org/x.png'></main>",
        ),
        encoding="utf-8",
    )
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert wait_for(browser, "return document.readyState === 'complete'")
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelector('#theme').hidden") is False, (
        "the page's own script runs"
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_scrolls_sideways(opened, failed, tmp_path, width):
    resize(opened, width, 800)
    (tmp_path / "failed.html").write_text(failed, encoding="utf-8")
    for path in ("20_popularity_test.html", "failed.html"):
        opened.get((tmp_path / path).as_uri())
        opened.execute_script(
            "document.querySelectorAll('details').forEach(d => { d.open = true; })"
        )
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.get((tmp_path / "20_popularity_test.html").as_uri())
    assert opened.execute_script("return document.querySelector('.toc details').open") == (
        width > 1024
    )
    assert opened.execute_script(
        "const b = document.querySelector('.dataframe').parentElement; return b.scrollWidth > b.clientWidth"  # noqa: E501
    ), "wide tables scroll"


@pytest.mark.browser
def test_print_is_light_and_plain(opened):
    opened.execute_script("document.documentElement.dataset.theme = 'dark'")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert (
            opened.execute_script("return getComputedStyle(document.body).color")
            == "rgb(31, 35, 40)"
        )
        hidden = "return [...document.querySelectorAll('.bar, .toc, details.code')].every(e => getComputedStyle(e).display === 'none')"  # noqa: E501
        assert opened.execute_script(hidden)
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.browser
def test_the_keyboard_reaches_everything(opened):
    from selenium.webdriver.common.keys import Keys

    opened.find_element("tag name", "body").send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the text"
    assert opened.execute_script("return document.activeElement.getBoundingClientRect().left") >= 0
    opened.switch_to.active_element.send_keys(Keys.TAB, Keys.TAB, Keys.TAB)
    assert opened.switch_to.active_element.get_attribute("id") == "code"
    assert (
        opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        == "solid"
    )


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_lines_and_marks_stand_out_from_the_paper():
    theme = (ROOT / "nbs" / "assets" / "theme.css").read_text()
    pair = r"light-dark\((#\w{6}), (#\w{6})\)"
    papers = re.search(f"--paper: {pair}", theme).groups()
    marks = re.findall(f"--fig-(blue|orange|green|vermillion|purple|sky): {pair}", theme)
    assert len(marks) == 6
    for name, *colours in marks:
        for colour, paper in zip(colours, papers, strict=True):
            low, high = sorted(map(luminance, (colour, paper)))
            assert (high + 0.05) / (low + 0.05) >= 3, (name, colour, paper)


def test_no_folder_of_the_machine_is_on_a_page():
    said = "read /home/me/data/tracks.csv"
    outputs = [
        new_output("stream", name="stdout", text=said),
        new_output("display_data", data={"text/plain": said}),
    ]
    nb = new_notebook(cells=[new_code_cell("load()", outputs=outputs)])
    made = render_chapter(nb, make_cover())
    assert made.count("read tracks.csv") == 2 and "/home" not in made


def test_chapters_lead_to_each_other():
    places = {
        "parts": [("Popularity", [("20_popularity_test", "A"), ("21_popularity_x", "B <b>c</b>")])],
        "previous": [],
        "next": [("21_popularity_x", "B <b>c</b>")],
    }
    page = BeautifulSoup(
        render_chapter(source_notebook(), make_cover(places=places)), "html.parser"
    )
    assert page.select_one(".book [aria-current=page]")["href"] == "20_popularity_test.html"
    assert page.select_one(".turn a[rel=next]")["href"] == "21_popularity_x.html"
    assert page.select_one(".turn a[rel=prev]") is None


def test_the_answer_has_its_chart(executed):
    nb = copy.deepcopy(executed)
    drawn = next(c for c in nb.cells if "'second'" in c.source)
    nb.cells.remove(drawn)
    at = next(i for i, c in enumerate(nb.cells) if "run.finding(" in c.source)
    nb.cells[at].source = nb.cells[at].source.replace("'a'", '"a"')
    nb.cells.insert(at, drawn)
    page = BeautifulSoup(render_chapter(nb, make_cover()), "html.parser")
    chart = page.select_one(".cover .answer + .answer-chart")
    assert chart.select_one("figure svg text").get_text() == "second"
    assert chart.select_one(".note a")["href"] == "#figure-1" and page.select_one("#figure-1")
    ids = [e["id"] for e in page.find_all(id=True)]
    assert len(ids) == len(set(ids)), "the chart stands twice, its ids do not"


def test_a_chapter_names_the_chart_of_its_answer(executed, tmp_path):
    from musicnb.book.reference import Question, chart_before

    nb = copy.deepcopy(executed)
    later = next(c for c in nb.cells if "'second'" in c.source)  # after the finding
    later.outputs[0].metadata["musicnb"]["answer"] = "a"
    page = BeautifulSoup(render_chapter(nb, make_cover()), "html.parser")
    assert page.select_one(".answer-chart svg text").get_text() == "second"
    assert page.select_one(".answer-chart .note a")["href"] == "#figure-2"
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nb, tmp_path / "notebooks" / "20_popularity_test.ipynb")
    kept = chart_before(tmp_path, Question("popularity", "?", "20_popularity_test", "a"))
    assert ">second</text>" in kept and 'fill="#fff"' in kept


def test_a_finding_is_linked_where_it_stands(executed):
    claim = "The track 1 is " + EVIL
    cover = make_cover()
    cover["findings"][1]["claim"] = claim
    page = BeautifulSoup(render_chapter(executed, cover), "html.parser")
    assert page.select_one(".finding#finding-b"), "in the text"
    assert page.select_one(".card .label a")["href"] == "#finding-b"


@pytest.mark.browser
def test_only_what_scrolls_takes_focus(opened):
    boxes = "[...document.querySelectorAll('.scroll')].map(b => [b.tabIndex === 0, b.scrollWidth > b.clientWidth + 1])"  # noqa: E501
    assert wait_for(opened, f"return {boxes}.every(([focus, over]) => focus === over)")
    seen = opened.execute_script(f"return {boxes}")
    assert {tuple(s) for s in seen} == {(True, True), (False, False)}, seen
    resize(opened, 390, 800)
    assert wait_for(opened, f"return {boxes}.every(([focus, over]) => focus === over)")


@pytest.mark.browser
def test_figures_and_tables_are_saved_by_a_click(opened):
    caught = """
      const made = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
      window.saved = [];
      URL.createObjectURL = (blob) => { blob.text().then((text) => saved.at(-1).push(text)); return made(blob); };
      HTMLAnchorElement.prototype.click = function () { saved.push([this.download]); };
    """  # noqa: E501
    opened.execute_script(caught)
    for figure, word in (("#figure-2", "SVG"), ("#figure-2", "PNG"), ("#table-1", "CSV")):
        opened.execute_script(
            "[...document.querySelector(arguments[0]).querySelectorAll('.tools button')]"
            ".find(b => b.textContent === arguments[1]).click()",
            figure,
            word,
        )
        assert wait_for(opened, f"return saved.some(s => s[0].endsWith('.{word.lower()}'))"), word
    names = dict(opened.execute_script("return saved.map(s => [s[0].split('.').pop(), s[0]])"))
    assert names["svg"] == "20_popularity_test-figure-2.svg"
    assert names["csv"] == "20_popularity_test-table-1.csv"


@pytest.mark.browser
def test_the_index_finds_words(browser, tmp_path):
    entries = [
        {
            "text": "Loudness rose",
            "href": "a.html#x",
            "study": "genre",
            "kind": "finding",
            "split": "random",
        },  # noqa: E501
        {"text": "Loud songs", "href": "a.html#y", "study": "popularity", "kind": "heading"},
        {"text": EVIL, "href": "a.html#z", "study": "popularity", "kind": "heading"},
    ]
    path = tmp_path / "index.html"
    book = {"title": "A book", "profile": "quick", "seed": 1, "chapters": [], "entries": entries}
    path.write_text(render_index(book), encoding="utf-8")
    browser.get(path.as_uri())
    shown = (
        "return [...document.querySelectorAll('.found li:not([hidden]) a')].map(a => a.textContent)"  # noqa: E501
    )
    assert browser.execute_script(shown) == [], "nothing is asked yet"
    browser.find_element("css selector", "#search input").send_keys("lou")
    assert browser.execute_script(shown) == ["Loudness rose", "Loud songs"]
    choose = "const s = document.querySelector('[data-filter=study]'); s.value = 'genre'; s.dispatchEvent(new Event('change'))"  # noqa: E501
    browser.execute_script(choose)
    assert browser.execute_script(shown) == ["Loudness rose"]
    assert browser.execute_script("return window.hacked") is None


def shown_output(axes, caption):
    "What `show` hands over, as the output of a cell."
    from unittest import mock

    from IPython import display as ipython

    from musicnb.plot import show

    with mock.patch.object(ipython, "display") as seen:
        show(axes, caption)
    return new_output(
        "display_data", data=seen.call_args.args[0], metadata=seen.call_args.kwargs["metadata"]
    )


def drawn_chapter():
    "A chapter with a chart, with panels that share a legend, and with a table wider than a phone."
    import pandas as pd

    from musicnb.plot import plot_forest, plot_heatmap, plot_panels, use_style

    use_style()
    names = ["followers of the artist on Spotify", "number of comments"]
    found = pd.DataFrame({"value": [0.2, 0.4], "low": [0.1, 0.3], "high": [0.3, 0.5]}, names)
    both = {"all songs of the table": found, "songs with an official video": found / 2}
    wide = pd.DataFrame({f"feature {i}": [0.123, 0.456] for i in range(14)}, names)
    charts = (
        plot_forest(both, xlabel="correlation with the views (95 % interval by artist)"),
        plot_panels({"views": both, "streams": both}, plot_forest, columns=2, sharey=True),
        plot_heatmap(wide, "{:.3f}"),
    )
    cells = [
        new_code_cell("show(…)", outputs=[shown_output(chart, f"Chart {k}.")])
        for k, chart in enumerate(charts, 1)
    ]
    return new_notebook(cells=[new_markdown_cell("# Figures\n\n> Of all widths."), *cells])


LETTERS = """
return [...document.querySelectorAll('.figure')].map((figure) => {
  const drawn = [...figure.querySelectorAll('.scroll > svg')];
  const svg = drawn.find((one) => one.getClientRects().length);
  const box = svg.parentElement, frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')];
  return {
    least: svg.getScreenCTM().a *
      Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize))),
    cut: texts.map((text) => text.getBoundingClientRect())
      .filter((one) => one.left < frame.left - 2 || one.right > frame.right + 2).length,
    scrolls: box.scrollWidth > box.clientWidth + 1,
    told: box.classList.contains('scrolls'),
  };
});
"""


@pytest.mark.browser
@pytest.mark.parametrize("both", [True, False], ids=["two drawings", "one drawing"])
def test_figures_can_be_read_on_a_phone(browser, tmp_path, both):
    nb = drawn_chapter()
    for cell in nb.cells[1:] if not both else ():
        cell.outputs[0].metadata["musicnb"].pop("narrow", None)
    (tmp_path / "page.html").write_text(render_chapter(nb, make_cover(findings=[])), "utf-8")
    resize(browser, 390, 800)
    browser.get((tmp_path / "page.html").as_uri())
    assert wait_for(browser, "return document.querySelector('.scrolls')")
    seen = browser.execute_script(LETTERS)
    assert len(seen) == 3
    assert all(figure["least"] >= 11 for figure in seen), seen
    assert not any(figure["cut"] for figure in seen), seen
    assert all(figure["scrolls"] == figure["told"] for figure in seen), seen
    if both:
        assert [figure["scrolls"] for figure in seen] == [False, False, True], seen


def scatter_page():
    "A chapter with a scatter plot of three songs, one of which would like to be markup."
    import matplotlib.pyplot as plt
    import pandas as pd

    from musicnb.maps import scatter_points

    fig, ax = plt.subplots()
    x = y = [0, 5, 10]
    ax.scatter(x, y)
    about = {"names": ["Low", EVIL, "High"], "said": ["1 view", "5 views", "9 views"]}
    points = scatter_points(ax, x, y, groups=pd.Series(["songs"] * 3), marked=[1], **about)
    plt.close(fig)
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0"/></svg>'
    told = {"caption": "Songs.", "alt": "Songs.", "points": points}
    data = {"image/svg+xml": drawing, "text/plain": ""}
    output = new_output("display_data", data, metadata={"musicnb": told})
    cells = [new_markdown_cell("# Songs\n\n> Two counts."), new_code_cell("1", outputs=[output])]
    return render_chapter(new_notebook(cells=cells), make_cover(findings=[], parameters=[]))


@pytest.mark.browser
def test_a_song_of_a_scatter_plot_is_told(browser, tmp_path):
    (tmp_path / "songs.html").write_text(scatter_page(), encoding="utf-8")
    resize(browser, 1280, 900)
    browser.get((tmp_path / "songs.html").as_uri())
    say = browser.execute_script
    say(
        "const i = document.querySelector('.song-map input'); i.value = 'hig';"
        "i.dispatchEvent(new Event('input'))"
    )
    found = "document.querySelector('.song-map .matches button')"
    assert say(f"return {found}.textContent") == "High · 9 views"
    say(f"{found}.click()")
    told = "return document.querySelector('.song-map [aria-live]').textContent"
    assert say(told) == "High: 9 views"
    for name in (EVIL, "Low"):  # from High to the left, twice
        say(
            "document.querySelector('.song-map canvas')"
            ".dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
        )
        assert say(told).startswith(f"{name}: ")
    assert say("return window.hacked === undefined")
    shown = "return ['.song-map', '.figure .scroll'].map(n => getComputedStyle(document.querySelector(n)).display)"  # noqa: E501
    assert say(shown) == ["block", "none"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert say(shown) == ["none", "block"], "paper has the drawing"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def stated_findings():
    "The ids of the findings that chapters state in their own cells."
    import ast

    from musicnb.book.chapter import chapter_stems

    for stem in chapter_stems(ROOT / "nbs"):
        for cell in nbformat.read(ROOT / "nbs" / f"{stem}.ipynb", 4).cells:
            if cell.cell_type != "code":
                continue
            for call in ast.walk(ast.parse(cell.source)):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "finding":
                    if call.args and isinstance(call.args[0], ast.Constant):
                        yield stem.partition("_")[2], call.args[0].value


def test_every_finding_has_a_label_of_five_words():
    from musicnb.book.words import _labels

    found = set(stated_findings())
    assert len(found) > 150
    missing = [f"{c}/{i}" for c, i in found if not {i, f"{c}/{i}"} & set(_labels())]
    assert not missing, f"without a line in nbs/assets/labels.csv: {sorted(missing)}"
    assert all(len(words.split()) <= 5 for words in _labels().values())
