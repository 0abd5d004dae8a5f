"""Times a whole training step of DLD against the published algorithm taken literally, and a plain step at full size."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from dld.benchmark.fresh_process import in_fresh_process
from dld.benchmark.published_step import published_step
from dld.benchmark.same_results import check_beams, check_losses, first_samples
from dld.benchmark.setting import QUICK_OPTIONS, Setting, configuration_file, train_batches
from dld.benchmark.timing import Comparison, alternate
from dld.engine.setup import load_config
from dld.model_zoo import find_weights
from dld.modeling.meta_arch.distill import DistillMetaArch
from dld.weights import config_from_checkpoint, load_weights_file

__all__ = ["RTOL", "TrainingStep", "arithmetic", "distiller", "measure_training"]

# Largest relative difference of a loss between the two ways. On one device the same convolutions run on other batch sizes.
RTOL = {"cpu": 1e-3, "cuda": 1e-2}


class TrainingStep:
    """Forward, backward and optimiser step of one model in three ways. The rate is 0: every step meets the same weights.

    Args:
        model: with frozen batch norm, on its device.
        seed: of the scales drawn; the same numbers are drawn in every step of one batch.
    """

    def __init__(self, model: DistillMetaArch, seed: int = 0) -> None:
        self.model, self.seed = model.train(), seed
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=1e-4)
        self.losses: dict[str, torch.Tensor] = {}
        self.scales: list[float] = []
        self.said: list = []  # the teacher's targets

    def _step(self, forward: Callable[[], dict[str, torch.Tensor]]) -> None:
        torch.manual_seed(self.seed)
        with EventStorage(0):
            losses = forward()
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        self.scales = getattr(losses, "scales", None) or []
        self.losses = {k: v.detach() for k, v in losses.items()}

    def ours(self, batch: list[dict]) -> None:
        """Run a step as the trainer does: the teacher first, then selector, scale passes and student."""

        def forward():
            annotated = self.model.annotate(batch)
            targets = self.model.ask_teacher(annotated)
            self.said = [targets]
            return self.model(annotated, targets)

        self._step(forward)

    def published(self, batch: list[dict]) -> None:
        """Run a step with :func:`published_step`."""

        def forward():
            losses, self.said = published_step(self.model, batch)
            return losses

        self._step(forward)

    def plain(self, batch: list[dict]) -> None:
        """Run a step of the student alone at full size."""
        self._step(lambda: self.model.student(batch))

    def recognition(self, losses: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Run the recognition part of a plain step, see `Spotter.reading_step`."""
        found = losses()
        self.optimizer.zero_grad()
        sum(found.values()).backward()


def arithmetic(recognition_share: float) -> float:
    """Estimate the time of a DLD step, as a multiple of a plain step at full size, by counting passes: 1.5 (1 - r) + 3.3 r.

    Detection runs once for the student at the scale drawn, and forward for the teacher and at every scale; recognition
    runs forward for the teacher, at every scale and with the student, at a cost that does not shrink with the scale.
    """
    return 1.5 * (1 - recognition_share) + 3.3 * recognition_share


def distiller(setting: Setting) -> tuple:
    """Build configuration and model of `configs/dld_tiny.yaml`, with the benchmark's weights and their backbone in teacher and
    student."""
    path = find_weights(setting.weights)
    stored = config_from_checkpoint(path).MODEL
    backbone = ["MODEL.BACKBONE.NAME", stored.BACKBONE.NAME, "MODEL.FPN.NORM", stored.FPN.NORM]
    # the selector of the published algorithm scores whole images
    options = ["MODEL.DEVICE", setting.device, "MODEL.SELECTOR.NAME", "BackboneSelector", *backbone]
    # its stages are those of dld_tiny.yaml's own backbone, of which a part can stand alone
    options += ["MODEL.SELECTOR.STAGES_OF", "build_tiny_resnet_fpn_backbone"]
    options += [*setting.opts, *setting.either([], QUICK_OPTIONS)]
    cfg = load_config(configuration_file("dld_tiny.yaml"), options)
    torch.manual_seed(0)
    model = build_model(cfg)
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_weights_file(path)["model"].items()}
    for spotter in (model.teacher, model.student):
        spotter.load_state_dict(state)
    return cfg, model


def measure_training(setting: Setting) -> dict:
    """Measure the part "training".

    Raises:
        DifferentResultsError: our step and the published one do not give the same losses and beams.
    """
    cfg, model = distiller(setting)
    step, device = TrainingStep(model), setting.device
    batches = list(train_batches(cfg, setting.either(2, 1)))
    pairs = setting.either(5, 1)
    height, width = batches[0][0]["image"].shape[-2:]
    words = statistics.mean(int(x["instances"].gt_readable.sum()) for batch in batches for x in batch)
    size = f"batch {len(batches[0])}, {height} x {width}, {words:.1f} words an image, float32"
    setting.say(f"training: the same losses and beams? ({size})")
    with first_samples():
        differences = check_step(step, batches[0], RTOL[torch.device(device).type])
        setting.say("training: published step against ours")

        def call(way):
            return lambda i: way(batches[i % len(batches)])

        timed = {"device": device, "warm_up": 0, "seconds": setting.seconds}
        published = alternate(call(step.published), call(step.ours), pairs, **timed)
        step.plain(batches[0])
        setting.say("training: ours against a plain step at full size")
        plain = alternate(call(step.ours), call(step.plain), pairs, **timed)
        scales = []
        for batch in batches:
            step.ours(batch)
            scales += step.scales
        share = recognition_share(step, batches[0], pairs, timed)
    r = share.ratio
    memory = measure_memory(setting)
    return {
        "ratios": {
            "training_step_published": published.entry(size, setting.threads, **differences),
            "training_step_plain": plain.entry(
                size,
                setting.threads,
                recognition_share=r,
                arithmetic=arithmetic(r),
                over_arithmetic=plain.ratio / arithmetic(r),
                scales_drawn=scales,
            ),
            "training_recognition_share": share.entry(size, setting.threads),
            "training_memory": memory,
        }
    }


def check_step(step: TrainingStep, batch: list[dict], rtol: float) -> dict[str, float]:
    """Return the largest differences of losses (relative) and beams (log-probability); call it inside `first_samples`.

    Raises:
        DifferentResultsError: they are not the same.
    """
    step.ours(batch)
    ours, beams = step.losses, step.said[0].beams
    step.published(batch)
    words = [len(t.beams.ids) for t in step.said]
    at, apart = 0, 0.0
    for targets, count in zip(step.said, words, strict=True):
        part = type(beams)(*(x[at : at + count] for x in beams))
        apart = max(apart, check_beams(part, targets.beams))
        at += count
    return {
        "largest_difference_of_losses": check_losses(ours, step.losses, rtol),
        "rtol": rtol,
        "largest_difference_of_log_probabilities": apart,
    }


def recognition_share(step: TrainingStep, batch: list[dict], pairs: int, timed: dict) -> Comparison:
    """Compare a = recognition's part of a plain step with b = the whole step."""
    student = step.model.student
    images = student.preprocess_image(batch)
    targets = [x["instances"].to(student.device) for x in batch]
    losses = student.reading_step(images, targets)
    return alternate(lambda _: step.recognition(losses), lambda _: step.plain(batch), pairs, **timed)


def measure_memory(setting: Setting) -> dict:
    """Measure peak memory of a DLD step and a plain step, each in a process of its own; bytes above the memory before."""
    setting.say("training: peak memory of both, in processes of their own")
    found = {way: in_fresh_process(setting, {"what": "training", "way": way}) for way in ("ours", "plain")}
    own = {way: f["peak_bytes"] - f["before_bytes"] for way, f in found.items()}
    return {
        "ratio": own["ours"] / own["plain"],
        "a_median": own["ours"],
        "b_median": own["plain"],
        "spread": 0.0,
        "pairs": 1,
        "unit": "bytes",
        "whole_process_ratio": found["ours"]["peak_bytes"] / found["plain"]["peak_bytes"],
        "size": found["ours"]["size"],
        "threads": setting.threads,
    }
