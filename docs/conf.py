"""Sphinx settings of the docs site. `build.py` beside this file prepares the pages and calls
Sphinx."""

import html
import json
import re
import sys
from functools import cache
from pathlib import Path

from docutils.nodes import SkipNode, literal_block, paragraph, section, title
from latex2mathml.converter import convert
from sphinx.addnodes import desc_signature

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from musicnb import __version__  # noqa: E402  (needs the path above)

project, author, release = "musicnb", "The musicnb founders", __version__
copyright = "The musicnb founders, Apache-2.0"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # the tools are executed by build.py, the chapters by the report
nb_merge_streams = True
nb_code_prompt_show = "Show the source"
nb_code_prompt_hide = "Hide the source"
myst_enable_extensions = ["dollarmath", "fieldlist", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_dmath_allow_space = False  # "$5 or $6" is no formula
myst_dmath_allow_digits = False

html_theme = "pydata_sphinx_theme"
html_title = "musicnb"
html_static_path = [
    str(DOCS / "static"),
    str(DOCS.parent / "nbs" / "assets" / "theme.css"),
]  # the report's colours
html_css_files = ["theme.css", "site.css"]
html_js_files = ["site.js"]
html_context = {"default_mode": "auto"}
html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
html_math_renderer = "mathml"
html_show_search_summary = (
    False  # it is fetched, which a page opened from a file must not do; site.js has one of its own
)
python_maximum_signature_line_length = 72
add_module_names = False
toc_object_entries_show_parents = "domain"
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_depth": 2,
    "show_nav_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
    "search_as_you_type": True,
    "logo": {"text": "musicnb"},
}
html_sidebars = {"index": [], "get-started": []}
GLOSSARY = "tools/glossary"
SHOWN = (title, paragraph, literal_block, desc_signature)  # what a snippet may show
TEXTS: dict[str, list] = {}  # page -> its parts, for the snippets of the search


def inline_math(self, node):
    self.body.append(convert(node.astext()))
    raise SkipNode


def block_math(self, node):
    self.body.append(f'<div class="math-block">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


@cache
def meanings(env) -> dict[str, str]:  # id of a heading in the glossary -> what the word means
    "The glossary's entries, for links to them."
    entries = env.get_doctree(GLOSSARY).findall(section)
    return {
        id: " ".join(entry[1].astext().split())
        for entry in entries
        for id in entry["ids"]
        if len(entry) > 1 and isinstance(entry[1], paragraph)
    }


def finish_page(app, pagename, templatename, context, doctree):
    "Links to the glossary carry its words; the search gets the page's text."
    if doctree is None:
        return
    known = meanings(app.env)

    def with_tip(link: re.Match) -> str:
        words = known.get(link[2])
        return f'{link[1]} data-tip="{html.escape(words)}"' if words else link[1]

    link = rf'(<a class="reference internal" href="[^"#]*{Path(GLOSSARY).name}\.html#([^"]+)")'
    context["body"] = re.sub(link, with_tip, context["body"])
    TEXTS[pagename] = [(id, " ".join(texts)) for id, texts in parts_of(doctree) if texts]


def parts_of(doctree) -> list[tuple[str, list[str]]]:  # id that a link may name, texts
    "A page's text, with a part for each heading and each entry."
    parts = [("", [])]
    for node in doctree.findall():
        if isinstance(node, section | desc_signature) and node["ids"]:
            parts.append((node["ids"][0], []))
        if isinstance(node, SHOWN):
            parts[-1][1].append(" ".join(node.astext().split()))
    return parts


def write_snippets(app, exception):
    "The pages' texts as a script, which a page opened from a file may load."
    if not exception:
        script = f"window.snippets = {json.dumps(TEXTS, ensure_ascii=False)};\n"
        (Path(app.outdir) / "_static" / "snippets.js").write_text(script, encoding="utf-8")


def setup(app):
    "Formulas become MathML, which browsers draw without a script."
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("html-page-context", finish_page)
    app.connect("build-finished", write_snippets)
