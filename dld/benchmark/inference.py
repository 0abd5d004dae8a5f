"""Times reading: the teacher at full size against the same spotter at half scale, and a student at its own choice.

What counts is the share of the saved FLOPs that becomes saved time: efficiency = wall-clock gain / FLOPs gain.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import nullcontext

import torch

from dld.benchmark.forced_words import annotated_boxes, forced_words
from dld.benchmark.setting import (
    QUICK_OPTIONS,
    Setting,
    configuration_file,
    spotter_of,
    untrained_spotter,
    val_records,
)
from dld.benchmark.stages import STAGES, spotting_stages
from dld.benchmark.timing import alternate
from dld.inference.scale_choice import at_scale
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter

__all__ = ["compare_reading", "measure_inference"]


def measure_inference(setting: Setting) -> dict:
    """Measure the part "inference" (see the module); return `ratios`, `stages` and what was read."""
    report: dict = {"ratios": {}, "stages": {}, "words": {}}
    count = setting.either(24, 2)
    quick = setting.either([], QUICK_OPTIONS)
    setting.opts, kept = [*setting.opts, *quick], setting.opts
    try:
        cfg, teacher = spotter_of(setting, setting.weights)
        records = val_records(cfg, count)
        setting.say(f"inference: {setting.weights} at scale 1 and 0.5, {count} pictures")
        compare_reading(setting, report, "tiny_half", teacher, at_scale(teacher, 0.5), records)
        if setting.student:
            _, student = spotter_of(setting, setting.student)
            setting.say(f"inference: {setting.weights} at scale 1 and {setting.student} at its choice")
            compare_reading(setting, report, "tiny_dld", teacher, student, records)
        del teacher
        config = setting.config or configuration_file("teacher_R50.yaml")
        if config != "none":
            setting.say(f"inference: {config}, random weights, at scale 1 and 0.5")
            cfg, teacher = untrained_spotter(setting, config)
            records = val_records(cfg, setting.either(6, 1))
            compare_reading(setting, report, "R50_half", teacher, at_scale(teacher, 0.5), records, forced=True)
    finally:
        setting.opts = kept
    return report


@torch.inference_mode()
def compare_reading(
    setting: Setting,
    report: dict,
    name: str,
    teacher: DynamicSpotter,
    other: DynamicSpotter,
    records: list[dict],
    forced: bool = False,
) -> None:
    """Add `inference_NAME` to the ratios of `report` and the stages of both to its stages.

    Args:
        teacher: its spotter runs as a plain one, without resize.
        other: a spotter told a scale, or one that chooses.
        forced: the annotated words take the place of what is found (random weights; both must share their networks);
            with trained weights each model reads what it finds, and the report says how many words that were.
    """
    outputs: dict[str, list] = {"a": [None] * len(records), "b": [None] * len(records)}

    def reading(which: str, model: Callable[[list[dict]], list[dict]], given: dict):
        def read(i: int) -> None:
            record = records[i % len(records)]
            given.update(boxes=annotated_boxes(record), size=tuple(record["image"].shape[-2:]))
            outputs[which][i % len(records)] = model([record])[0]

        return read

    with forced_words(teacher.student) if forced else nullcontext({}) as given:
        a, b = reading("a", teacher.student, given), reading("b", other, given)
        found = alternate(a, b, len(records), device=setting.device, warm_up=2, seconds=setting.seconds)
        done = range(len(found.a))
        for label, call, model in (("teacher", a, teacher.student), ("other", b, other)):
            with spotting_stages(model) as clock:
                for i in done:
                    with clock.stage("other"):
                        call(i)
            order = [s for s in (*STAGES, "other") if s in clock.seconds]
            report["stages"][f"inference_{name}_{label}"] = {s: clock.seconds[s] / len(done) for s in order}
    sizes = [tuple(records[i]["image"].shape[-2:]) for i in done]
    words = {k: [len(outputs[k][i]["instances"]) for i in done] for k in outputs}
    full = teacher.cost_table.teacher_flops(sizes, words["a"]).mean().item()
    reduced = statistics.mean(outputs["b"][i]["gflops"] for i in done) * 1e9
    mean_words = {k: statistics.mean(v) for k, v in words.items()}
    height, width = sizes[0]
    what = "annotated words, 12 steps each" if forced else "words found"
    entry = found.entry(
        f"{height} x {width}, batch 1, {len(done)} pictures, {mean_words['a']:.1f} / {mean_words['b']:.1f} {what}",
        setting.threads,
        flops_ratio=full / reduced,
        efficiency=found.ratio / (full / reduced),
        gflops=[full / 1e9, reduced / 1e9],
        mean_scale=statistics.mean(outputs["b"][i]["scale"] for i in done),
    )
    report["ratios"][f"inference_{name}"] = entry
    report["words"][name] = {"teacher": words["a"], "other": words["b"], "forced": forced}
