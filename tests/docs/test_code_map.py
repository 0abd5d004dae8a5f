"""The map of the code in CONTRIBUTING.md is that of the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_layers_are_those_that_are_enforced():
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text(encoding="utf-8"))
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "LAYERS"]
    block = re.search(r"^Layers of `dld`.*?```\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)[1]
    assert tuple(tuple(line.split(", ")) for line in block.splitlines()) == ast.literal_eval(values[0])


def test_every_part_is_on_the_map():
    parts = {path.name for path in (ROOT / "dld").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    on_the_map = {name.rstrip("/") for name in re.findall(r"`dld/([\w.]+/?)", TEXT.partition("## Map of the code")[2])}
    assert parts - on_the_map == {"__init__.py"}
