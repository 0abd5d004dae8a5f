"""What the parts of the benchmark share: the options, the models, the images."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import dld
from dld.config import chooses_scale
from dld.data.build import build_train_loader, get_text_dataset
from dld.data.dataset_mapper import TextDatasetMapper
from dld.engine.setup import load_config, register_datasets
from dld.inference.predictor import TextSpotter
from dld.inference.scale_choice import dynamic
from dld.model_zoo import find_weights, weights_address
from dld.modeling.fused_norms import fuse_norms
from dld.modeling.meta_arch.dynamic_spotter import DynamicSpotter

__all__ = [
    "Setting",
    "configuration_file",
    "QUICK_OPTIONS",
    "known_parts",
    "spotter_of",
    "train_batches",
    "untrained_spotter",
    "val_records",
]


# overrides that make any of our configurations as small as possible, except the networks themselves
QUICK_OPTIONS = [
    "INPUT.MIN_SIZE_TEST",
    128,
    "INPUT.MIN_SIZE_TRAIN",
    (128,),
    "DATASETS.SYNTHWORDS.SIZE",
    [128, 128],
    "SOLVER.IMS_PER_BATCH",
    2,
    "MODEL.RPN.POST_NMS_TOPK_TEST",
    50,
]


@dataclass
class Setting:
    """Options of a run. `quick` makes everything as small as possible, to see that all of it runs, not how fast.

    Attributes:
        weights: of the trained spotter, a file or a name of the model zoo; its student is the same spotter at half scale.
        student: weights with a selector to measure at its own choice of scales; "": none.
        config: a yaml of a spotter measured with random weights; "": `configs/teacher_R50.yaml`; "none": none.
        seconds: time that a part usually may take; it measures at least once.
        folder: where pictures of growth go, beside the json; None: nowhere.
    """

    weights: str = "teacher_tiny"
    student: str = ""
    config: str = ""
    device: str = "cpu"
    threads: int = 2
    quick: bool = False
    seconds: float = 90.0
    folder: Path | None = None
    opts: list[str] = field(default_factory=list)
    _begun: float = field(default_factory=time.perf_counter, repr=False)

    def check(self) -> None:
        """Look for the named files and weights, before anything is measured.

        Raises:
            FileNotFoundError, KeyError: naming the file or the weights.
        """
        for name in filter(None, (self.weights, self.student)):
            find_weights(name)
        if self.config not in ("", "none") and not Path(self.config).is_file():
            raise FileNotFoundError(f"--config {self.config} does not exist")

    def say(self, text: str) -> None:
        """Print a line of progress with the seconds since the start."""
        print(f"[{time.perf_counter() - self._begun:5.0f} s] {text}", flush=True)

    def either(self, full, quick):
        """Return `full`, or `quick` where everything is to be small."""
        return quick if self.quick else full


def configuration_file(name: str) -> str:
    """Return a file of `configs/` in the checkout that this package runs from.

    Raises:
        FileNotFoundError: there is none, for example where the package was installed without its repository.
    """
    path = Path(dld.__file__).resolve().parents[1] / "configs" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: run the benchmark from a checkout, or give --config FILE")
    return str(path)


def spotter_of(setting: Setting, name: str, fuse: bool = True) -> tuple[CfgNode, DynamicSpotter]:
    """Load configuration and model of weights; wrap a plain spotter, so that it can be told a scale.

    Args:
        fuse: fold batch norm into the convolutions, as for reading.

    Raises:
        FileNotFoundError, KeyError, ValueError: naming the file or the weights; or see :func:`known_parts`.
    """
    opts = ["MODEL.DEVICE", setting.device, *setting.opts]
    spotter = TextSpotter.from_checkpoint(weights_address(name), opts, fuse=fuse)
    return spotter.cfg, known_parts(dynamic(spotter.model, spotter.cfg))


def known_parts(model: DynamicSpotter) -> DynamicSpotter:
    """Return the model as it is.

    Raises:
        ValueError: its spotter is of an architecture whose parts the benchmark does not know.
    """
    model.student.timed_calls()
    return model


def untrained_spotter(setting: Setting, config: str) -> tuple[CfgNode, DynamicSpotter]:
    """Build configuration and model of a yaml, with random weights: nothing is downloaded."""
    cfg = load_config(config, ["MODEL.DEVICE", setting.device, "MODEL.WEIGHTS", "", *setting.opts])
    if chooses_scale(cfg):
        cfg.MODEL.META_ARCHITECTURE = cfg.MODEL.SPOTTER
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    fuse_norms(model)
    return cfg, known_parts(dynamic(model, cfg))


def val_records(cfg: CfgNode, count: int, short_side: int = 0) -> list[dict]:
    """Return the first generated validation images, mapped as for a test, with their "annotations".

    Args:
        short_side: pixels, 0 for the configuration's.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if short_side:
        cfg.INPUT.MIN_SIZE_TEST = short_side
    register_datasets(cfg)
    images, mapper = get_text_dataset("synthwords_val"), TextDatasetMapper(cfg, False)
    return [mapper(images[i]) for i in range(count)]


def train_batches(cfg: CfgNode, count: int) -> Iterator[list[dict]]:
    """Yield the first training batches of generated images of a configuration, mapped in this process."""
    cfg = cfg.clone()
    cfg.defrost()
    # weights remember what they were trained on; measuring must not need it
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_WEIGHTS = ("synthwords_train",), []
    cfg.DATALOADER.NUM_WORKERS = 0
    register_datasets(cfg)
    yield from itertools.islice(build_train_loader(cfg), count)
