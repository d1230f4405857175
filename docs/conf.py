"""Sphinx settings of the docs site. `build.py` beside this file prepares the pages and calls
Sphinx."""

import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

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
html_context = {"default_mode": "auto"}
html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
html_math_renderer = "mathml"
html_show_search_summary = (
    False  # a summary is fetched, which a page opened from a file must not do
)
python_maximum_signature_line_length = 72
add_module_names = False
toc_object_entries_show_parents = "domain"
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_depth": 2,
    "show_nav_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
    "search_as_you_type": True,
    "logo": {"text": "musicnb"},
}
html_sidebars = {"index": [], "api": [], "data-cards": []}


def inline_math(self, node):
    self.body.append(convert(node.astext()))
    raise SkipNode


def block_math(self, node):
    self.body.append(f'<div class="math-block">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app):
    "Formulas become MathML, which browsers draw without a script."
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
