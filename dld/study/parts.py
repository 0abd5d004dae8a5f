"""What each module of a spotter costs: multiply-accumulates, parameters and milliseconds on this machine.

Every part runs once on an empty image, with as many proposals as the RPN passes on at test and with a given number of words, as
for the cost law (`dld.modeling.resolution.cost`), to which the counts add up. What chooses among boxes, cuts strips and
makes words of characters is no module: `dld benchmark` measures the time of a whole picture.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from dld.modeling.flops import DECODER_STEPS, evaluating, flops_by_module, watched_modules
from dld.modeling.meta_arch.spotter import Spotter
from dld.modeling.resolution.cost import SpotterCost
from dld.structures.image_sizes import padded_size

__all__ = ["ELSEWHERE", "measure_parts", "parts_table"]

# calls of a spotter that are inside no module of the table
ELSEWHERE = "(elsewhere)"
MEGA = 1e6


@torch.no_grad()
def measure_parts(spotter: Spotter, size: tuple[int, int], words: int, depth: int = 2, repeats: int = 5) -> dict:
    """Measure a spotter by module.

    Args:
        spotter: its mode stays as it is.
        size: (H, W) of the image, which is padded as always.
        words: number of words found in it.
        depth: names of modules are cut after so many parts: 2 gives `backbone.bottom_up`.
        repeats: runs of which the median time is taken, after one that is not timed.

    Returns:
        a dict with "rows" (a dict each of "module", "mac", "share" of all counted, "parameters" and "ms"; modules that neither
        ran nor have parameters are left out), "mac" (of all rows), "law_mac" (by the cost law), "parameters", "ms_rows" (sum of
        all rows), "ms" (of the whole, watched by nobody), "size" (padded), "words", "depth" and "repeats".

    Raises:
        ValueError: a number is less than 1 (`words`: 0), or the spotter's parts cannot be run one by one.
    """
    for name, value, least in (("words", words, 0), ("depth", depth, 1), ("repeats", repeats, 1), ("size", min(size), 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    padded = padded_size(size, spotter.size_divisibility)
    modules = _modules(spotter)
    rows = {name: ".".join(name.split(".")[:depth]) for name in modules}

    def run() -> None:
        # as `spot` does it
        reduced = spotter.inference_dtype is not None
        with torch.autocast(spotter.pixel_mean.device.type, spotter.inference_dtype, enabled=reduced):
            spotter.run_parts(padded, words, DECODER_STEPS, lambda part, call: call())

    with evaluating(spotter):
        total, own = flops_by_module(run, modules)
        times = [_module_seconds(run, modules, rows, spotter.pixel_mean.device) for _ in range(repeats + 1)][1:]
        whole = [_seconds(run, spotter.pixel_mean.device) for _ in range(repeats)]
    flops = {name: sum(own[m] for m, row in rows.items() if row == name) for name in dict.fromkeys(rows.values())}
    flops[ELSEWHERE] = total - sum(flops.values())
    parameters = _parameters(modules, rows)
    table = []
    for name, count in flops.items():
        ms = 1e3 * statistics.median(seconds.get(name, 0.0) for seconds in times)
        if count or parameters.get(name) or any(name in seconds for seconds in times):
            table.append(
                {
                    "module": name,
                    "mac": count // 2,
                    "share": count / max(total, 1),
                    "parameters": parameters.get(name, 0),
                    "ms": ms,
                }
            )
    law = SpotterCost.measure(spotter)
    expected = law.flops(torch.tensor(padded[0] * padded[1]), torch.tensor(words))
    return {
        "rows": table,
        "mac": total // 2,
        "law_mac": round(float(expected) / 2),
        "parameters": sum(parameters.values()),
        "ms_rows": sum(row["ms"] for row in table),
        "ms": 1e3 * statistics.median(whole),
        "size": list(padded),
        "words": words,
        "depth": depth,
        "repeats": repeats,
    }


def parts_table(measured: Mapping) -> str:
    """Lay out the result of :func:`measure_parts` as a table in Markdown."""
    lines = ["| module | M MAC | share | parameters | ms |", "|---|---|---|---|---|"]
    for row in measured["rows"]:
        lines.append(_line(row["module"], row["mac"], f"{100 * row['share']:.1f} %", row["parameters"], row["ms"]))
    lines.append(_line("sum", measured["mac"], "100 %", measured["parameters"], measured["ms_rows"]))
    lines.append(f"| by the cost law; as a whole | {measured['law_mac'] / MEGA:,.1f} | | | {measured['ms']:.1f} |")
    return "\n".join(lines)


def _line(name: str, mac: int, share: str, parameters: int, ms: float) -> str:
    return f"| {name} | {mac / MEGA:,.1f} | {share} | {parameters:,} | {ms:.1f} |"


def _modules(spotter: Spotter) -> dict[str, nn.Module]:
    """Return the modules of a spotter by name; those of what reads strips at test under `reader`."""
    named = [(name, module) for name, module in spotter.named_modules() if name]
    if spotter.reader is not None:
        if spotter.reads_photos:
            # its copy for test
            named = [(name, module) for name, module in named if not f"{name}.".startswith("roi_heads.recognizer.")]
        named += [(f"reader.{name}" if name else "reader", module) for name, module in spotter.reader.named_modules()]
    return dict(named)


def _parameters(modules: Mapping[str, nn.Module], rows: Mapping[str, str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    seen: set[int] = set()
    for name, module in modules.items():
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                counts[rows[name]] = counts.get(rows[name], 0) + parameter.numel()
    return counts


def _module_seconds(
    run: Callable[[], None], modules: Mapping[str, nn.Module], rows: Mapping[str, str], device: torch.device
) -> dict[str, float]:
    """Return the seconds of each row; of a module inside another one of another row only the inner one's count for it."""
    seconds: dict[str, float] = {}
    running: list[str] = []
    since = 0.0

    def turn() -> None:
        nonlocal since
        _wait(device)
        now = time.perf_counter()
        if running or since:
            row = rows[running[-1]] if running else ELSEWHERE
            seconds[row] = seconds.get(row, 0.0) + now - since
        since = now

    turn()
    with watched_modules(modules, running, turn):
        run()
    turn()
    return seconds


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
