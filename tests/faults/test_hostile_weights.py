"""Weights and configurations from strangers: no code of theirs runs, and what is wrong is said."""

import ast
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from dld.engine.checkpoint import SpotterCheckpointer
from dld.engine.setup import load_config
from dld.weights import config_from_checkpoint, load_weights_file

ROOT = Path(__file__).resolve().parents[2]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def trap(tmp_path):
    path = tmp_path / "sprung"
    yield path
    assert not path.exists(), "code of the file ran"


WRITERS = {
    "pickle": lambda data, path: path.write_bytes(pickle.dumps(data)),
    "pickle of protocol 0": lambda data, path: path.write_bytes(pickle.dumps(data, protocol=0)),
    "torch": lambda data, path: torch.save(data, path),
    "torch of old": lambda data, path: torch.save(data, path, _use_new_zipfile_serialization=False),
}
NAMES = ["weights.pth", "weights.pkl", "weights.safetensors", "weights.pyth", "weights.pt", "weights", "weights.PKL"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["the whole", "model", "beside"])
def test_a_file_that_runs_code_is_refused_under_any_name(tmp_path, trap, name, writer, place):
    weights = {"weight": torch.zeros(1, 1)}
    data = {"the whole": Trap(trap), "model": {"model": Trap(trap)}, "beside": {"model": weights, "trainer": Trap(trap)}}[place]
    WRITERS[writer](data, tmp_path / name)
    with pytest.raises(ValueError, match=name):
        SpotterCheckpointer(torch.nn.Linear(1, 1)).load(str(tmp_path / name))


def test_a_module_that_was_saved_whole_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"module.pth is not a checkpoint of plain tensors"):
        load_weights_file(str(tmp_path / "module.pth"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 5}, "found a int"),
        ({"model": [torch.zeros(1)]}, "found a list"),
        ({"model": {"weight": "text"}}, "found a str under 'weight'"),
        ({3: torch.zeros(1)}, "found a Tensor under 3"),
        ({"state_dict": {"weight": torch.zeros(1)}}, "found a dict under 'state_dict'"),
    ],
)
def test_files_without_weights_are_said_to_be(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd.pth holds no weights.*{message}"):
        load_weights_file(str(tmp_path / "odd.pth"))


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_file_that_was_cut_short_is_named(tmp_path, name, keep):
    from safetensors.torch import save_file

    state, path = {"weight": torch.zeros(64, 64)}, tmp_path / name
    torch.save(state, path) if name.endswith("pth") else save_file(state, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=name):
        load_weights_file(str(path))


def test_a_safetensors_header_that_lies_about_its_length(tmp_path):
    (tmp_path / "lie.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="lie.safetensors"):
        load_weights_file(str(tmp_path / "lie.safetensors"))


def test_a_zip_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("../../data.pkl", b"")
    with pytest.raises(ValueError, match="zip.pth"):
        load_weights_file(str(tmp_path / "zip.pth"))


TAGS = [
    "!!python/object/apply:os.mkdir ['{}']",
    "!!python/object/new:os.mkdir ['{}']",
    "!!python/object/apply:subprocess.check_call [[mkdir, '{}']]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!!python/object:dld.text.charset.Charset {{}}",
    "!unknown tag",
]
CHAINS = {
    "alone": ["OUTPUT_DIR: {}\n"],
    "base": ["_BASE_: 1.yaml\n", "OUTPUT_DIR: {}\n"],
    "base of a base": ["_BASE_: 1.yaml\n", "_BASE_: sub/2.yaml\n", "OUTPUT_DIR: {}\n"],
    "list of bases": ["_BASE_: [1.yaml, sub/2.yaml]\n", "SEED: 1\n", "OUTPUT_DIR: {}\n"],
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("chain", CHAINS)
def test_tags_that_build_python_objects_are_refused_anywhere_in_a_chain(tmp_path, trap, chain, tag):
    (tmp_path / "sub").mkdir()
    for i, text in enumerate(CHAINS[chain]):
        path = tmp_path / (f"sub/{i}.yaml" if i == 2 else f"{i}.yaml")
        path.write_text(text.format(tag.format(trap)))
    with pytest.raises(ValueError, match=r"0.yaml.*could not determine a constructor for the tag"):
        load_config(str(tmp_path / "0.yaml"))


def test_a_key_that_is_a_tag_is_refused(tmp_path, trap):
    (tmp_path / "key.yaml").write_text(f"? !!python/object/apply:os.mkdir ['{trap}']\n: 1\n")
    with pytest.raises(ValueError, match="key.yaml"):
        load_config(str(tmp_path / "key.yaml"))


def test_a_configuration_inside_a_checkpoint_is_loaded_safely(tmp_path, trap):
    config = f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{trap}']\n"
    torch.save({"model": {"weight": torch.zeros(1)}, "config": config}, tmp_path / "model.pth")
    with pytest.raises(Exception, match="could not determine a constructor for the tag"):
        config_from_checkpoint(str(tmp_path / "model.pth"))


def test_a_kilobyte_that_unfolds_to_billions_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}" for i in range(1, 12)]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="laughs.yaml.*unfold to more than 100000"):
        load_config(str(tmp_path / "laughs.yaml"))


@pytest.mark.parametrize("text", ["_BASE_: 0.yaml\n", "a: &a [*a]\n", "[" * 3000, "- 1\n", "text\n", "\x00", "1.5\n"])
def test_yaml_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / "0.yaml").write_text(text)
    with pytest.raises(ValueError, match="0.yaml"):
        load_config(str(tmp_path / "0.yaml"))


def test_no_code_of_ours_loads_yaml_or_pickles_unsafely():
    # detectron2's merge_from_file and load_yaml_with_base allow Python tags unless told otherwise; so do torch.load and numpy
    unsafe = {"unsafe_load", "full_load", "Unpickler"}
    wanted = {"merge_from_file": "allow_unsafe", "load_yaml_with_base": "allow_unsafe", "load_cfg_from_file": "none can do"}
    found = []
    for path in [*(ROOT / "dld").rglob("*.py"), *(ROOT / "projects").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name, given = node.func.attr, {k.arg: k.value for k in node.keywords}
            owner = ast.unparse(node.func.value)
            flag = given.get(wanted.get(name, ""))
            if name in unsafe or (name in wanted and not (isinstance(flag, ast.Constant) and flag.value is False)):
                found.append(f"{path}:{node.lineno}")
            if owner == "torch" and name == "load" and ast.unparse(given.get("weights_only", ast.Constant(None))) != "True":
                found.append(f"{path}:{node.lineno}")
            if owner in ("pickle", "yaml") and name in ("load", "loads") and path.name != "weights.py":
                found.append(f"{path}:{node.lineno}")
    assert not found
