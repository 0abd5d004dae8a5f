"""Reports what is installed, and the command that mends what is wrong: ``python -m dld.utils.collect_env``.

Works when torch, detectron2 or anything else is missing or broken: the top imports only the standard library. The exit
code is 1 when something keeps the programs from working.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dld

__all__ = ["PACKAGES", "Problem", "collect", "find_problems", "is_installed", "main", "parse_version"]

PACKAGES = {
    "torch": ("torch", "2.6"),
    "torchvision": ("torchvision", "0.21"),
    "numpy": ("numpy", "1.26"),
    "opencv-python-headless": ("cv2", "4.8"),
    "pillow": ("PIL", "10.1"),
    "shapely": ("shapely", "2.0"),
    "editdistance": ("editdistance", "0.8"),
    "rapidfuzz": ("rapidfuzz", "3.6"),
    "fonttools": ("fontTools", "4.50"),
    "safetensors": ("safetensors", "0.4"),
    "tensorboard": ("tensorboard", "2.15"),
    "tqdm": ("tqdm", "4.66"),
    "cloudpickle": ("cloudpickle", "2.2"),
    "fvcore": ("fvcore", "0.1.5"),
    "iopath": ("iopath", "0.1.9"),
    "matplotlib": ("matplotlib", "3.8"),
    "omegaconf": ("omegaconf", "2.1"),
    "packaging": ("packaging", "23"),
    "pycocotools": ("pycocotools", "2.0.8"),
    "pyyaml": ("yaml", "6.0"),
    "tabulate": ("tabulate", "0.9"),
    "termcolor": ("termcolor", "2.0"),
    "yacs": ("yacs", "0.1.8"),
    "scikit-image": ("skimage", "0.22"),
    "symspellpy": ("symspellpy", "6.10.1"),
}
"""Distribution -> (name to import, lowest version), as in setup.py. pycocotools before 2.0.8 was built for numpy 1."""

OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
"""All of these provide `cv2`: any one will do, two overwrite each other's files."""

COMPILED = ("numpy", "torchvision", "opencv-python-headless", "shapely", "pycocotools", "rapidfuzz", "editdistance")
"""Packages that can be present and still fail to import (built for another numpy or torch, or libGL is missing)."""

MIN_FONT_FAMILIES = 20
UPSTREAM = "git+https://github.com/facebookresearch/detectron2.git"


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Args:
        text: what was found.
        fix: the command that mends it, ready to paste.
        severe: the programs do not work before it is mended.
    """

    text: str
    fix: str
    severe: bool = True


def parse_version(version: str) -> tuple[int, ...]:
    """Parse '2.11.0+cu128' to (2, 11, 0); leave out anything after the first three numbers of the release."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")[:3]) if release else ()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_installed(module: str) -> bool:
    """Tell whether `module` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _import_error(module: str) -> str | None:
    """Tell why `module` cannot be imported, in one line, or None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken build may raise anything
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return None


def _pip(arguments: str) -> str:
    return f"{sys.executable} -m pip {arguments}"


def _package_problems(deep: bool) -> list[Problem]:
    problems, absent = [], {}
    for name, (module, lowest) in PACKAGES.items():
        version = next(filter(None, map(_version, OPENCV if module == "cv2" else (name,))), None)
        if not is_installed(module):
            absent[name] = f'"{name}>={lowest}"'
        elif version and parse_version(version) < parse_version(lowest):
            fix = _pip(f'install --upgrade "{name}>={lowest}"')
            problems.append(Problem(f"{name} {version} is older than {lowest}", fix))
        elif deep and name in COMPILED and (error := _import_error(module)):
            again = _pip(f'install --upgrade --force-reinstall --no-deps "{name}>={lowest}"')
            if module == "cv2" and _version("opencv-python"):  # its window functions want libGL, which servers lack
                again = _pip("uninstall -y opencv-python") + " && " + again
            problems.append(Problem(f"{name} {version} cannot be imported ({error})", again))
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        problems.append(Problem(f"{', '.join(absent)} {verb} missing", _pip(f"install {' '.join(absent.values())}")))
    return problems


def _torch_for_torchvision():
    """Return the versions of torch that the installed torchvision needs, a `packaging` SpecifierSet; None if it names none."""
    try:
        from packaging.requirements import Requirement

        wanted = (Requirement(text) for text in importlib.metadata.requires("torchvision") or ())
        return next((r.specifier for r in wanted if r.name == "torch"), None)
    except (ImportError, importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _pairing_problems() -> list[Problem]:
    problems = []
    torch, vision, wanted = _version("torch"), _version("torchvision"), _torch_for_torchvision()
    if torch and vision and wanted is not None and not wanted.contains(torch.partition("+")[0], prereleases=True):
        text = f"torchvision {vision} was built for torch {wanted}, not for torch {torch}"
        problems.append(Problem(text, _pip(f'install --upgrade "torch=={torch.partition("+")[0]}" torchvision')))
    several = {name: version for name in OPENCV if (version := _version(name))}
    if len(several) > 1:
        names = ", ".join(f"{name} {version}" for name, version in several.items())
        text = f"several distributions provide cv2: {names}; the one installed last overwrote the other"
        fix = _pip(f"uninstall -y {' '.join(several)}") + " && " + _pip("install opencv-python-headless")
        problems.append(Problem(text, fix, severe=len(set(several.values())) > 1))
    return problems


def _detectron2_problems(deep: bool) -> list[Problem]:
    build = f"install --no-build-isolation '{UPSTREAM}'"
    if not is_installed("detectron2"):
        return [Problem("detectron2 is missing (on Linux x86-64 `make setup` makes a .venv that has it)", _pip(build))]
    if deep and (error := _import_error("detectron2.modeling")):
        return [Problem(f"detectron2 cannot be imported ({error})", _pip(build + " --force-reinstall --no-deps"))]
    return []


def find_problems(deep: bool = True) -> list[Problem]:
    """Find everything that is wrong in this environment.

    Args:
        deep: also import the compiled packages and detectron2 (some seconds); otherwise only look at what is installed.
    """
    problems = _package_problems(deep) + _pairing_problems() + _detectron2_problems(deep)
    fonts = count_font_families()
    if fonts < MIN_FONT_FAMILIES:
        fix = _pip("install -e .")
        text = f"only {fonts} font families for synthetic words (fontpkg-* packages)"
        problems.append(Problem(text, fix, severe=False))
    root = os.environ.get("DETECTRON2_DATASETS")
    if root and not Path(root).is_dir():
        fix = f"mkdir -p '{root}'   # or: unset DETECTRON2_DATASETS"
        problems.append(Problem(f"DETECTRON2_DATASETS names {root}, which is not a folder", fix, severe=False))
    return problems


def count_font_families() -> int:
    """Count the installed font packages, each one family."""
    return len({point.name for point in importlib.metadata.entry_points(group="fontpkg.family")})


def _git_commit(folder: Path) -> str | None:
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _detectron2_commit(package: Path) -> str | None:
    """Return the commit that detectron2 was built from: of its checkout, or as pip recorded it when installing from git."""
    if commit := _git_commit(package.parent):
        return commit
    try:
        text = importlib.metadata.distribution("detectron2").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return json.loads(text or "{}").get("vcs_info", {}).get("commit_id", "")[:12] or None


def _describe_detectron2() -> str:
    if not is_installed("detectron2"):
        return "missing"
    package = Path(importlib.util.find_spec("detectron2").origin).parent
    version = _version("detectron2") or _version("sal-detectron2") or "unknown version"
    name = "detectron2" if _version("detectron2") else "sal-detectron2"
    compiled = "with" if is_installed("detectron2._C") else "without"
    commit = _detectron2_commit(package)
    return f"{version} ({name}{', commit ' + commit if commit else ''}), {compiled} compiled operators (_C), {package}"


def _describe_cuda() -> list[tuple[str, str]]:
    if _import_error("torch"):
        return []
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return [("CUDA", "torch was built without it: runs on the CPU")]
    build = f"torch was built for {'CUDA ' + torch.version.cuda if torch.version.cuda else 'HIP ' + torch.version.hip}"
    if not torch.cuda.is_available():
        return [("CUDA", f"{build}; no driver or no GPU here: runs on the CPU")]
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [("CUDA", build), *((f"GPU {index}", name) for index, name in enumerate(names))]


def collect() -> list[tuple[str, str]]:
    """Collect name and value of everything a bug report should say, in the order of the printed table."""
    commit = _git_commit(Path(dld.__file__).resolve().parents[1])
    rows = [
        ("dld", f"{dld.__version__}{', commit ' + commit if commit else ''}, {Path(dld.__file__).resolve().parent}"),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("system", f"{platform.platform()}, {os.cpu_count()} cores"),
        ("detectron2", _describe_detectron2()),
        *_describe_cuda(),
    ]
    for name, (module, _) in PACKAGES.items():
        if module == "cv2":
            name, found = "opencv", " and ".join(f"{v} ({other})" for other in OPENCV if (v := _version(other)))
        else:
            found = _version(name)
        rows.append((name, found or ("present" if is_installed(module) else "missing")))
    rows.append(("font families", str(count_font_families())))
    rows.append(("DETECTRON2_DATASETS", os.environ.get("DETECTRON2_DATASETS", "not set: ./datasets")))
    return rows


def main() -> int:
    """Print versions and problems; return 1 if a problem is severe, else 0."""
    rows = collect()
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    problems = find_problems()
    if not problems:
        print("\nnothing is off")
    for problem in problems:
        print(f"\n{'PROBLEM' if problem.severe else 'note'}: {problem.text}\n    fix: {problem.fix}")
    return 1 if any(problem.severe for problem in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
