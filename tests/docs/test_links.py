"""Every relative link and every #anchor of the documents leads somewhere, and so does every document that code speaks of."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^(\s*)(```+).*?^\s*\2\s*$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
SPOKEN_OF = re.compile(r"(?<![\w./-])((?:projects|datasets|requirements|dld)/[\w./-]*\.md)(#[\w-]+)?")
NAMED = re.compile(r"`((?:dld|tests|projects|configs|datasets|requirements)/[\w./-]+)`")
SOURCES = (".py", ".yaml", ".toml", ".in", ".txt", ".sh")


def committed() -> list[Path]:
    """Files of the checkout that are neither ignored nor gone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading)
        base = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
        name, again = base, 0
        while name in found:
            again += 1
            name = f"{base}-{again}"
        found.add(name)
    return found


def links(text: str) -> list[str]:
    return LINK.findall(CODE.sub("", FENCED.sub("", text)))


def broken(document: Path, text: str) -> list[str]:
    """What is wrong with the links of a document, one line each."""
    problems = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists():
            problems.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(text if target == document else target.read_text(encoding="utf-8")):
            problems.append(f"{link}: no such heading")
    return problems


def test_every_link_of_every_document_leads_somewhere():
    documents = [path for path in committed() if path.suffix == ".md"]
    assert ROOT / "README.md" in documents
    problems = [
        f"{os.path.relpath(path, ROOT)}: {problem}"
        for path in documents
        for problem in broken(path, path.read_text(encoding="utf-8"))
    ]
    assert not problems, "\n".join(problems)


def test_every_document_that_code_speaks_of_is_there():
    problems = []
    for path in committed():
        if path.suffix not in SOURCES or path == Path(__file__):
            continue
        for file, anchor in SPOKEN_OF.findall(path.read_text(encoding="utf-8", errors="ignore")):
            target = ROOT / file
            if not target.is_file() or anchor and anchor[1:] not in anchors(target.read_text(encoding="utf-8")):
                problems.append(f"{os.path.relpath(path, ROOT)}: {file}{anchor}")
    assert not problems, "\n".join(problems)


def test_every_file_that_documents_name_is_there():
    problems = []
    for path in committed():
        # a change log names what was there once
        if path.suffix == ".md" and path.name != "CHANGELOG.md":
            names = NAMED.findall(path.read_text(encoding="utf-8"))
            problems += [f"{os.path.relpath(path, ROOT)}: {name}" for name in names if not (ROOT / name).exists()]
    assert not problems, "\n".join(problems)


def test_every_document_of_the_project_is_linked_from_its_page():
    folder = ROOT / "projects" / "DLD"
    linked = {(folder / link.partition("#")[0]).resolve() for link in links((folder / "README.md").read_text(encoding="utf-8"))}
    assert sorted(set((folder / "docs").glob("*.md")) - linked) == []


def test_the_first_documents_stay_short():
    for name in ("README.md", "projects/DLD/README.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 250, name


def test_what_counts_as_an_anchor_and_a_link():
    text = "# A `b_c`: d, e!\n## Twice\n## Twice\n```\n# no heading\n[no](link.md)\n```\n"
    text += "`[no](code.md)` [yes](a.md#x) ![p](b.png)\n"
    assert anchors(text) == {"a-b_c-d-e", "twice", "twice-1"}
    assert links(text) == ["a.md#x", "b.png"]


def test_a_broken_link_is_named(tmp_path):
    (tmp_path / "a.md").write_text("# There\n")
    text = "[a](a.md) [b](a.md#there) [c](a.md#gone) [d](gone.md) [e](#here) [f](https://x.org/#y)\n## Here\n"
    (tmp_path / "page.md").write_text(text)
    assert broken(tmp_path / "page.md", text) == ["a.md#gone: no such heading", "gone.md: no such file"]
