"""From a picture to its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import dld.modeling  # noqa: F401  only registration
from dld.config import configured_charset, get_dld_cfg
from dld.data.dataset_mapper import TextDatasetMapper, read_dict_image
from dld.engine.checkpoint import WholeSpotterCheckpointer, load_weights_file
from dld.model_zoo import find_weights
from dld.structures.words import SpottingResult, result_from_instances

__all__ = ["TextSpotter", "config_from_checkpoint", "portable_config"]


def config_from_checkpoint(path: str) -> CfgNode:
    """The configuration a checkpoint was trained with, pointed at that checkpoint.

    Raises:
        ValueError: the file holds none (weights of another program, say).
    """
    text = load_weights_file(path).get("config")
    if not isinstance(text, str):
        raise ValueError(f"{path} holds no configuration: give one with --config-file")
    cfg = get_dld_cfg()
    cfg.merge_from_other_cfg(CfgNode.load_cfg(text))
    cfg.MODEL.WEIGHTS = path
    return cfg


def portable_config(cfg: CfgNode) -> CfgNode:
    """The configuration as it goes with weights for reading: the charset inline, no path of the training machine."""
    cfg = cfg.clone()
    cfg.defrost()
    if cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch":
        cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
    if cfg.MODEL.RECOGNITION.CHARSET_FILE:
        cfg.MODEL.RECOGNITION.CHARACTERS = "".join(configured_charset(cfg).characters)
        cfg.MODEL.RECOGNITION.CHARSET_FILE = ""
    cfg.MODEL.WEIGHTS, cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS, cfg.OUTPUT_DIR = "", "", "output"
    cfg.DATASETS.REGISTER = []
    # how the last stage's training images looked says nothing about what is read: synthwords_val is again the default one
    cfg.DATASETS.SYNTHWORDS = get_dld_cfg().DATASETS.SYNTHWORDS
    return cfg


class TextSpotter:
    """Reads pictures with a trained spotter.

    Args:
        cfg: configuration with MODEL.WEIGHTS; MODEL.DEVICE falls back to the CPU where there is no CUDA.

    Example::

        spotter = TextSpotter.from_checkpoint("output/teacher_tiny/model_best.pth")
        for word in spotter("photo.jpg").words:
            print(word.text, word.score)
    """

    def __init__(self, cfg: CfgNode) -> None:
        cfg = cfg.clone()
        cfg.defrost()
        if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        if cfg.MODEL.META_ARCHITECTURE == "DistillMetaArch":
            cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"  # the same weights without building a teacher
        self.cfg = cfg
        self.model = build_model(cfg).eval()
        WholeSpotterCheckpointer(
            self.model, charset_transfer=cfg.MODEL.CHARSET_TRANSFER, trust_pickle=cfg.MODEL.TRUST_PICKLE
        ).load(cfg.MODEL.WEIGHTS)
        if cfg.MODEL.SELECTOR.MU and hasattr(self.model, "mu"):
            self.model.mu.fill_(cfg.MODEL.SELECTOR.MU)  # asked for, instead of the one stored with the weights
        self.mapper = TextDatasetMapper(cfg, False)

    @classmethod
    def from_checkpoint(cls, path: str, opts: list[str] = ()) -> TextSpotter:
        """From a checkpoint written by our trainer, which holds its configuration; `opts` override it."""
        cfg = config_from_checkpoint(path)
        cfg.merge_from_list(list(opts))
        return cls(cfg)

    @classmethod
    def from_pretrained(cls, name: str, opts: list[str] = ()) -> TextSpotter:
        """From weights shipped with the package; their hash is verified. `dld.model_zoo.list_weights()` names them."""
        return cls.from_checkpoint(find_weights(name), opts)

    @torch.inference_mode()
    def __call__(self, image: str | Path | np.ndarray) -> SpottingResult:
        """Words of one picture.

        Args:
            image: a file, or uint8 BGR pixels (H, W, 3).

        Raises:
            ValueError: the file is not a readable picture, or the array has another shape or type.
        """
        name = None
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"expected uint8 pixels (H, W, 3) in BGR, got {image.dtype} {image.shape}")
        else:
            name = str(image)
            image = read_dict_image({"file_name": name})
        height, width = image.shape[:2]
        record = self.mapper({"image": image, "height": height, "width": width})
        output = self.model([record])[0]
        return result_from_instances(
            output["instances"], None, name, output.get("scale"), output.get("cost"), output.get("gflops")
        )
