"""Reports what was measured, and on which machine: json and a table."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dld import __version__
from dld.utils.atomic_write import atomic_write_text
from dld.utils.threads import usable_processors

__all__ = ["TARGETS", "describe_machine", "markdown", "merge_part", "write_report"]

# The targets: name of a ratio, the number in it, the bound on CPU and GPU, and whether it must be at least that.
TARGETS = (
    ("inference_tiny_half", "efficiency", 0.8, 0.8, True),
    ("inference_tiny_dld", "efficiency", 0.8, 0.8, True),
    ("inference_R50_half", "efficiency", 0.8, 0.8, True),
    ("reading_32_rows", "a_median", 0.05, 0.05, False),
    ("reading_24_rows", "b_median", 0.02, 0.02, False),
    ("beam_search", "ratio", 10.0, 100.0, True),
    ("training_step_published", "ratio", 1.3, 3.0, True),
    ("training_step_plain", "over_arithmetic", 1.2, 1.2, False),
    ("training_memory", "ratio", 1.2, 1.2, False),
)
# package -> distributions that bring it
PACKAGES = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "detectron2": ("detectron2", "sal-detectron2"),
    "numpy": ("numpy",),
    "opencv-python-headless": ("opencv-python-headless",),
}


def describe_machine(device: str) -> dict:
    """Describe processor, GPU, cores and versions: without them a time means nothing."""
    versions = {"python": platform.python_version(), "dld": __version__}
    for package, distributions in PACKAGES.items():
        versions[package] = next(filter(None, map(_version, distributions)), "not installed")
    cuda = torch.device(device).type == "cuda"
    usable = usable_processors()
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "machine": _processor(),
        "cores": usable,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def _version(distribution: str) -> str | None:
    try:
        return f"{version(distribution)}{' (' + distribution + ')' if distribution == 'sal-detectron2' else ''}"
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def merge_part(report: dict, name: str, found: dict) -> None:
    """Put what a part found where it belongs: `ratios` and `stages` of all parts lie together, the rest under `parts`."""
    report.setdefault("ratios", {}).update(found.get("ratios", {}))
    report.setdefault("stages", {}).update(found.get("stages", {}))
    rest = {k: v for k, v in found.items() if k not in ("ratios", "stages")}
    report.setdefault("parts", {})[name] = {**rest, "ratios": sorted(found.get("ratios", {}))}


def write_report(report: dict, path: Path) -> None:
    """Write the json whole or not at all."""
    atomic_write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


def markdown(report: dict) -> str:
    """Lay out tables of ratios, targets and stages in markdown."""
    lines = ["| what | a / b | a | b | spread | of |", "|---|---|---|---|---|---|"]
    for name, entry in report.get("ratios", {}).items():
        a, b = (_amount(entry[k], entry.get("unit", "seconds")) for k in ("a_median", "b_median"))
        lines.append(f"| {name} | {entry['ratio']:.2f} | {a} | {b} | {entry['spread']:.0%} | {entry['size']} |")
    lines += ["", "| target | wanted | measured | |", "|---|---|---|---|"]
    for name, field, cpu, gpu, at_least in TARGETS:
        entry = report.get("ratios", {}).get(name)
        if entry is None:
            continue
        bound, value = gpu if report.get("device", "cpu") != "cpu" else cpu, entry[field]
        met = value >= bound if at_least else value <= bound
        sign = ">=" if at_least else "<="
        lines.append(
            f"| {name}: {field} | {sign} {bound:g} | {value:.{2 if value >= 0.1 else 3}f} | {'met' if met else '**missed**'} |"
        )
    stages = report.get("stages", {})
    if stages:
        columns = list(dict.fromkeys(stage for split in stages.values() for stage in split))
        lines += ["", f"| ms an image | {' | '.join(columns)} | sum |", "|---" * (len(columns) + 2) + "|"]
        for name, split in stages.items():
            cells = [f"{1000 * split[s]:.1f}" if s in split else "" for s in columns]
            lines.append(f"| {name} | {' | '.join(cells)} | {1000 * sum(split.values()):.1f} |")
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.2f} ms"
