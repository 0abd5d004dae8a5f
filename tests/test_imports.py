"""The layers of the package, read from the source: data flows down this list and nothing flows back.

`|` in the layout means: side by side, without knowing each other; what stands with a comma may use each other.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "config": 0,
    "text": 0,
    "structures": 0,
    "strips": 0,
    "utils": 0,
    "model_zoo": 0,
    "data": 1,
    "modeling": 1,
    "evaluation": 1,
    "engine": 2,
    "inference": 2,
    "export": 2,
    "report": 2,
    "app": 3,
    "benchmark": 3,
    "cli": 4,
}
SIDE_BY_SIDE = {1}
FORBIDDEN = ("detectron2.model_zoo", "detectron2.utils.testing", "detectron2._C")

SOURCES = sorted((ROOT / "dld").rglob("*.py"))
SCRIPTS = sorted((ROOT / "projects").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Absolute names of everything a file imports, at any depth of its code; `from a import b` counts as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "dld").parts[0].removesuffix(".py")


def test_every_part_has_its_place_in_the_order():
    parts = {part_of(path) for path in SOURCES} - {"__init__"}
    assert parts <= set(LAYERS), f"say in LAYERS where {sorted(parts - set(LAYERS))} stand"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_flow_down(path):
    part = part_of(path)
    for name in imported(path):
        if not name.startswith("dld."):
            continue
        other = name.split(".")[1]
        if other == part or part == "__init__" or other not in LAYERS:
            continue
        assert LAYERS[other] <= LAYERS[part], f"{part} imports {name}, which stands above it"
        if LAYERS[other] == LAYERS[part]:
            assert LAYERS[part] not in SIDE_BY_SIDE, f"{part} imports {name}, which stands beside it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_does_not_import_its_scripts(path):
    assert not {name for name in imported(path) if name.split(".")[0] in ("projects", "tests", "tools")}


@pytest.mark.parametrize("path", SOURCES + SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_part_of_detectron2_that_some_builds_lack(path):
    bad = {name for name in imported(path) if name.startswith(FORBIDDEN)}
    assert not bad, f"{path} imports {bad}: not in the pinned build"


def test_every_module_is_imported_on_a_machine_without_gpu():
    modules = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    modules = [name for name in modules if not name.endswith("__main__")]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception as error: print(f'{name}: {error!r}')\n"
        # where detectron2 is compiled its own layers load detectron2._C
        "bad = [name for name in sys.modules if name.startswith('detectron2.model_zoo')]\n"
        "print(*bad, end='')"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr[-2000:]


def test_importing_the_package_imports_neither_torch_nor_detectron2():
    code = "import sys, dld, dld.cli.main; print({'torch', 'detectron2', 'numpy', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
