"""Hooks of mkdocs.yml: the pages of the site are the documents where they lie in the repository, under the same paths.

So a link means the same on the site and in a checkout. What a page links to and is no page (results, pictures, code) is copied.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(\s*<?([^)\s>#]+)")
CODE = re.compile(r"^(\s*)(```+).*?^\s*\2\s*$|(`+)(?!`).+?(?<!`)\3(?!`)", re.DOTALL | re.MULTILINE)


def on_config(config):
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = github_anchor
    return config


def on_files(files: Files, config) -> Files:
    """Take the pages that the navigation names, and the files that they link to, instead of the folder of documents."""
    pages = sorted(_named(config.nav))
    found = set(pages)
    for page in pages:
        text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        for link in LINK.findall(text):
            target = (ROOT / page).parent / link
            path = os.path.relpath(target, ROOT)
            if not re.match(r"[a-z]+:", link) and target.is_file() and not path.endswith(".md"):
                found.add(path)
    kept = [file for file in files if not file.is_documentation_page()]  # what the theme brings
    return Files([*kept, *(File.generated(config, path, abs_src_path=str(ROOT / path)) for path in sorted(found))])


def on_page_markdown(markdown: str, **_) -> str:
    """Let tables within <details> be tables, as on GitHub."""
    return markdown.replace("<details>", '<details markdown="1">')


def github_anchor(heading: str, separator: str) -> str:
    """Return the anchor of a heading: lower case, no punctuation, a separator for each blank."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def _named(entries) -> set[str]:
    """Return the pages of a navigation, at any depth."""
    if isinstance(entries, str):
        return {entries}
    values = entries.values() if isinstance(entries, dict) else entries
    return {page for value in values for page in _named(value)}
