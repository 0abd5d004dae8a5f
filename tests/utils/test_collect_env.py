"""The environment report: true on this machine, and for each thing that can be off, the command that mends it."""

import subprocess
import sys

import pytest

import dld
from dld.utils import collect_env
from dld.utils.collect_env import collect, find_problems, parse_version


def versions(monkeypatch, **changed):
    """Pretend that distributions have other versions; None is: not installed."""
    real = collect_env._version
    changed = {name.replace("_", "-"): version for name, version in changed.items()}
    monkeypatch.setattr(collect_env, "_version", lambda name: changed[name] if name in changed else real(name))


def without(monkeypatch, *modules):
    real = collect_env.is_installed
    monkeypatch.setattr(collect_env, "is_installed", lambda module: module not in modules and real(module))


def only(problems, word):
    found = [problem for problem in problems if word in problem.text]
    assert len(found) == 1, problems
    return found[0]


@pytest.mark.parametrize(
    "text, numbers",
    [("2.11.0+cu128", (2, 11, 0)), ("0.1.5.post20221221", (0, 1, 5)), ("4.13.0rc1", (4, 13, 0)), ("26", (26,))],
)
def test_versions_are_compared_as_numbers(text, numbers):
    assert parse_version(text) == numbers
    assert parse_version("2.9") < parse_version("2.11.0")


def test_the_report_names_versions_and_the_compiled_part():
    rows = dict(collect())
    assert rows["dld"].startswith(dld.__version__)
    assert rows["Python"].startswith("3.")
    assert rows["torch"][0].isdigit()
    assert "compiled operators (_C)" in rows["detectron2"]
    assert int(rows["font families"]) >= 0


def test_a_missing_package_comes_with_its_command(monkeypatch):
    without(monkeypatch, "rapidfuzz", "tqdm")
    problem = only(find_problems(deep=False), "rapidfuzz")
    assert problem.text == "rapidfuzz, tqdm are missing" and problem.severe
    assert problem.fix == f'{sys.executable} -m pip install "rapidfuzz>=3.6" "tqdm>=4.66"'


def test_pycocotools_built_for_numpy_1_is_too_old(monkeypatch):
    versions(monkeypatch, pycocotools="2.0.6")
    problem = only(find_problems(deep=False), "pycocotools")
    assert "2.0.6 is older than 2.0.8" in problem.text and '"pycocotools>=2.0.8"' in problem.fix


@pytest.mark.parametrize(
    "wanted, torch, right",
    [
        ("==2.6.0", "2.6.0+cu124", True),
        ("==2.6.0", "2.11.0", False),
        (">=2.14.0", "2.15.0+cu132", True),
        (">=2.14.0", "2.13.1", False),
        (">=2.14.0", "2.16.0rc1", True),
    ],
)
def test_torchvision_of_another_torch(monkeypatch, wanted, torch, right):
    """As torchvision's own metadata has it: some releases go with one torch, some with every later one."""
    requires = collect_env.importlib.metadata.requires
    asked = {"torchvision": ["numpy", f"torch ({wanted})", "scipy; extra == 'scipy'"]}
    monkeypatch.setattr(collect_env.importlib.metadata, "requires", lambda name: asked.get(name) or requires(name))
    versions(monkeypatch, torch=torch, torchvision="0.21.0")
    found = [problem for problem in find_problems(deep=False) if "torchvision" in problem.text]
    assert not found if right else found[0].fix.endswith(f'install --upgrade "torch=={torch}" torchvision')


def test_a_torchvision_that_does_not_say_is_taken(monkeypatch):
    monkeypatch.setattr(collect_env.importlib.metadata, "requires", lambda name: None)
    versions(monkeypatch, torch="2.6.0", torchvision="0.21.0")
    assert not [problem for problem in find_problems(deep=False) if "torchvision" in problem.text]


def test_two_opencv_distributions(monkeypatch):
    versions(monkeypatch, opencv_python_headless="4.10.0.84", opencv_python="4.10.0.84")
    assert not only(find_problems(deep=False), "provide cv2").severe  # the same files twice: works
    versions(monkeypatch, opencv_python_headless="4.10.0.84", opencv_python="4.8.0.74")
    problem = only(find_problems(deep=False), "provide cv2")
    assert problem.severe and "uninstall -y opencv-python-headless opencv-python" in problem.fix


def test_the_desktop_opencv_alone_will_do(monkeypatch):
    versions(monkeypatch, opencv_python_headless=None, opencv_python="4.10.0.84")
    assert not [problem for problem in find_problems(deep=False) if "cv" in problem.text]


def test_missing_detectron2(monkeypatch):
    without(monkeypatch, "detectron2")
    problem = only(find_problems(deep=False), "detectron2")
    assert problem.severe and "--no-build-isolation 'git+https" in problem.fix
    assert dict(collect())["detectron2"] == "missing"


def test_a_package_that_is_there_but_broken(monkeypatch):
    def broken(module):
        raise ImportError("libGL.so.1: cannot open shared object file\nmore") if module == "cv2" else AssertionError

    monkeypatch.setattr(collect_env.importlib, "import_module", lambda name: broken(name) if name == "cv2" else None)
    versions(monkeypatch, opencv_python="4.10.0.84", opencv_python_headless=None)
    problem = only(find_problems(), "libGL")
    assert problem.text.endswith("(ImportError: libGL.so.1: cannot open shared object file)")
    assert "uninstall -y opencv-python && " in problem.fix and "opencv-python-headless" in problem.fix


def test_few_fonts_and_a_dataset_folder_that_is_not_there_are_only_notes(monkeypatch, tmp_path):
    monkeypatch.setattr(collect_env, "count_font_families", lambda: 3)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    problems = find_problems(deep=False)
    assert not only(problems, "only 3 font families").severe
    assert not only(problems, "nowhere").severe


def test_the_exit_code_says_whether_something_is_broken(monkeypatch, capsys):
    monkeypatch.setattr(collect_env, "find_problems", list)
    assert collect_env.main() == 0 and "nothing is off" in capsys.readouterr().out
    problem = collect_env.Problem("torch is missing", "pip install torch")
    monkeypatch.setattr(collect_env, "find_problems", lambda: [problem])
    assert collect_env.main() == 1
    assert "PROBLEM: torch is missing\n    fix: pip install torch" in capsys.readouterr().out


def test_the_report_needs_nothing_but_the_standard_library():
    # -S: no site-packages; what is left is what a machine with a broken installation has.
    code = "import sys; sys.path.insert(0, '.'); from dld.utils import collect_env; sys.exit(collect_env.main())"
    root = collect_env.Path(dld.__file__).parents[1]
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "torch, torchvision, numpy" in done.stdout and "detectron2 is missing" in done.stdout
