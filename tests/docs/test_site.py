"""The documentation site: its navigation names every page, and it is built without a broken link."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
# documents that are no pages: what is filled in, what is read in a terminal
NO_PAGES = {"dld/model_zoo/card_template.md"}


def named(entries) -> list[str]:
    """The pages of a navigation in their order."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for value in values for page in named(value)]


def test_the_navigation_names_every_page_once_and_each_is_there():
    pages = named(CONFIG["nav"])
    assert [page for page in pages if not (ROOT / page).is_file()] == []
    assert len(pages) == len(set(pages))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    documents = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert documents - NO_PAGES == set(pages)


def test_a_page_that_is_missing_or_not_named_is_seen():
    assert named([{"A": "a.md"}, "b.md", {"C": [{"D": "d.md"}, "e.md"]}]) == ["a.md", "b.md", "d.md", "e.md"]


def test_broken_links_end_the_build():
    assert CONFIG["strict"] is True
    links = CONFIG["validation"]["links"]
    assert {links[kind] for kind in ("not_found", "anchors", "absolute_links", "unrecognized_links")} == {"warn"}


def test_what_the_site_needs_is_pinned_and_no_requirement_of_the_package():
    pins = (ROOT / "requirements" / "docs.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in pins if line and not line.startswith("#")]
    assert pins and all(re.fullmatch(r"[\w.-]+(\[\w+\])?==[\d.]+", line) for line in pins)
    assert "mkdocs" not in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert CONFIG["theme"]["name"] == "material" and CONFIG["theme"]["font"] is False  # nothing is fetched from elsewhere


def test_every_name_of_the_api_page_is_there():
    text = (ROOT / "projects" / "DLD" / "docs" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    assert names
    for name in names:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            module, _, attribute = name.rpartition(".")
            found = getattr(importlib.import_module(module), attribute)
        assert found is not None, name


@pytest.mark.slow
def test_the_site_is_built(tmp_path):
    if any(importlib.util.find_spec(name) is None for name in ("material", "mkdocstrings", "mdx_truly_sane_lists")):
        pytest.skip("mkdocs is not installed (requirements/docs.txt)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in named(CONFIG["nav"]):
        path = tmp_path / "site" / page.removesuffix(".md")
        written = path.parent / "index.html" if path.name == "README" else path / "index.html"
        assert written.is_file(), page
    api = (tmp_path / "site" / "projects" / "DLD" / "docs" / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="dld.inference.predictor.TextSpotter"' in api and "Reads pictures with a trained spotter" in api
    assert (tmp_path / "site" / "projects" / "DLD" / "results" / "spotted.jpg").is_file()
