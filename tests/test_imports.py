"""The layers of the package, read from the source, lazy imports included: nothing imports what stands beside or above it."""

import ast
import json
import os
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each part may import those of the lines above it and nothing of its own line.
LAYERS = (
    ("drawing", "model_zoo", "page", "strips", "text", "utils"),
    ("config", "config_files", "structures"),
    ("data", "documents", "evaluation", "weights"),
    ("modeling",),
    ("engine", "runtime"),
    ("inference",),
    ("app", "benchmark", "corpus", "export", "serve", "study"),
    ("compare",),
    ("cli",),
)
LEVELS = {part: level for level, line in enumerate(LAYERS) for part in line}
FORBIDDEN = ("detectron2.model_zoo", "detectron2.utils.testing", "detectron2._C")

SOURCES = sorted((ROOT / "dld").rglob("*.py"))
SCRIPTS = sorted((ROOT / "projects").rglob("*.py"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Absolute names of everything a file imports, at any depth of its code; `from a import b` counts as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "dld").parts[0].removesuffix(".py")


def test_every_part_has_its_place_in_the_order():
    parts = {part_of(path) for path in SOURCES} - {"__init__"}
    assert parts == set(LEVELS), f"say in LAYERS where {sorted(parts ^ set(LEVELS))} stand"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_flow_down(path):
    part = part_of(path)
    for name in imported(path):
        if not name.startswith("dld."):
            continue
        other = name.split(".")[1]
        if other == part or part == "__init__" or other not in LEVELS:
            continue
        assert LEVELS[other] < LEVELS[part], f"{part} imports {name}, which stands beside or above it"


def import_graph(name_of) -> dict[str, set[str]]:
    """Who imports whom, lazy imports included; `name_of` says what a module counts as."""
    modules = {module_of(path): path for path in SOURCES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        for name in imported(path):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            # a package that is imported for what it registers imports everything of itself
            if not name or "dld" in (name, module):
                continue
            if name_of(name) != name_of(module):
                graph.setdefault(name_of(module), set()).add(name_of(name))
    return graph


@pytest.mark.parametrize("depth", [1, 2, 9], ids=["packages", "sub-packages", "files"])
def test_nothing_imports_in_circles(depth):
    graph = import_graph(lambda module: ".".join(module.split(".")[: 1 + depth]))
    graph.pop("dld", None)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_does_not_import_its_scripts(path):
    assert not {name for name in imported(path) if name.split(".")[0] in ("projects", "tests", "tools")}


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_part_of_detectron2_that_some_builds_lack(path):
    bad = {name for name in imported(path) if name.startswith(FORBIDDEN)}
    assert not bad, f"{path} imports {bad}: not in the pinned build"


IMPORTING = """
import importlib, json, sys
seen = {}
def look(name, watched):
    seen[name] = sorted(watched & set(sys.modules))

import dld, dld.cli.main
look("package", {"torch", "detectron2", "numpy", "cv2"})
import dld.cli.spot, dld.cli.spot_ray, dld.corpus.run, dld.corpus.ray_pool, dld.inference.predictor
look("spot", {"ray", "pyarrow"})
seen["failed"] = []
for name in sys.argv[1:]:
    try: importlib.import_module(name)
    except Exception as error: seen["failed"].append(f"{name}: {error!r}")
# where detectron2 is compiled its own layers load detectron2._C
seen["lacking"] = [name for name in sys.modules if name.startswith("detectron2.model_zoo")]
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen():
    """What a process on a machine without GPU has loaded after the package, after `dld spot`, and after every module."""
    modules = [name for name in map(module_of, SOURCES) if not name.endswith("__main__")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", IMPORTING, *modules]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_module_is_imported_on_a_machine_without_gpu(seen):
    assert not seen["failed"] and not seen["lacking"]


def test_importing_the_package_imports_neither_torch_nor_detectron2(seen):
    assert not seen["package"]


def test_nothing_of_ray_is_imported_without_need(seen):
    assert not seen["spot"]
