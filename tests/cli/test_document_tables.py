"""Facts about tables in documents: they say what the results beside them say."""

import json
import re
from pathlib import Path

import pytest

from dld.cli.document_tables import fill_tables, main

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "projects" / "DLD"
WITH_TABLES = (PROJECT / "README.md", PROJECT / "docs" / "study.md", PROJECT / "docs" / "speed.md")
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "datasets/README.md", "dld/model_zoo/README.md")),
    PROJECT / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
)
ROW = {
    "name": "dld", "choice": "chosen", "gamma": 0.1, "mean_scale": 0.5,
    "total_gflops": 4.0, "teacher_share": 0.25, "paper_gflops": 1.5,
    "detection_hmean": 0.8, "e2e_hmean": 0.5, "e2e_interval": [0.4, 0.6], "word_spotting_hmean": 0.55, "ms_per_image": 71.0,
    "e2e_difference": {"value": -0.02, "low": -0.05, "high": 0.01},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps([ROW, {**ROW, "name": "dld @ 0.5", "choice": "fixed"}]))
    return tmp_path


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_marked_table_is_that_of_the_results(folder):
    text = "before\n<!-- table: study.json -->\n| a lie |\n<!-- end of table -->\nafter\n"
    filled = fill_tables(text, folder)
    head, chosen, fixed = cells(filled)
    assert dict(zip(head, chosen, strict=True)) == {
        "method": "dld",
        "gamma": "0.1",
        "scale": "0.50",
        "GFLOPs": "4.00",
        "of teacher": "25%",
        "paper GFLOPs": "1.50",
        "detection": "80.0",
        "e2e [95 %]": "50.0 [40.0, 60.0]",
        "to teacher": "-2.0 [-5.0, +1.0]",
        "word spotting": "55.0",
        "ms": "71",
    }
    assert fixed[1] == "", "no selector is asked at a fixed scale"
    assert "a lie" not in filled and filled.startswith("before\n") and filled.endswith("\nafter\n")
    assert fill_tables(filled, folder) == filled


def test_check_writes_nothing_and_tells_by_its_exit_code(folder, capsys):
    document = folder / "page.md"
    document.write_text("<!-- table: study.json -->\n<!-- end of table -->\n")
    assert main([str(document), "--check"]) == 1 and "page.md" in capsys.readouterr().out
    assert document.read_text().count("\n") == 2
    assert main([str(document)]) == 0
    assert main([str(document), "--check"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: gone.json -->\n<!-- end of table -->", "gone.json: no such results"),
        ("<!-- table: study.json -->\n| |\n", "no <!-- end of table --> follows"),
        ("<!-- table: study.json -->\n<!-- table: study.json -->\n<!-- end of table -->", "no <!-- end of table -->"),
        ("<!-- table: bad.json -->\n<!-- end of table -->", "bad.json: neither results of"),
        ("<!-- table: readers.json -->\n<!-- end of table -->", "name one of its data sets after it, b; got None"),
    ],
)
def test_what_cannot_be_filled_is_named(folder, capsys, text, message):
    (folder / "bad.json").write_text("{}")
    (folder / "readers.json").write_text('{"rows": [{"dataset": "b"}]}')
    (folder / "page.md").write_text(text)
    assert main([str(folder / "page.md")]) == 2
    assert message in capsys.readouterr().err


def test_results_may_lie_beside_the_folder_of_the_document(folder):
    (folder / "docs").mkdir()
    text = "<!-- table: ../study.json -->\n<!-- end of table -->\n"
    assert cells(fill_tables(text, folder / "docs")) == cells(fill_tables(text.replace("../", ""), folder))


def test_several_documents_are_written_at_once(folder, capsys):
    documents = [folder / "a.md", folder / "b.md", folder / "c.md"]
    for document in documents[:2]:
        document.write_text("<!-- table: study.json -->\n<!-- end of table -->\n")
    documents[2].write_text("no table\n")
    assert main([str(document) for document in documents]) == 0
    assert capsys.readouterr().out.split(": ")[1].strip() == f"{documents[0]}, {documents[1]}"
    assert [len(cells(document.read_text())) for document in documents] == [3, 3, 0]


def test_the_tables_of_the_documents_are_those_of_their_results():
    for document in WITH_TABLES:
        text = document.read_text(encoding="utf-8")
        assert fill_tables(text, document.parent) == text, f"run python -m dld.cli.document_tables {document.relative_to(ROOT)}"


def test_every_document_with_marks_is_named():
    marked = {document for document in DOCUMENTS if "<!-- table:" in document.read_text(encoding="utf-8")}
    assert marked == set(WITH_TABLES)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    command = re.search(r"dld\.cli\.document_tables ([^`]+)`", contributing)[1]
    assert command.split() == [str(document.relative_to(ROOT)) for document in WITH_TABLES]


def test_every_row_of_every_table_has_the_columns_of_its_head():
    for document in DOCUMENTS:
        width = None
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
            if not line.startswith("|"):
                width = None
                continue
            bare = re.sub(r"``.*?``|`.*?`|\\\|", "", line)
            width = width or bare.count("|")
            assert bare.count("|") == width, f"{document}:{number}: {bare.count('|')} columns, its head has {width}"
