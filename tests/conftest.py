"""What many tests need: small pictures of words, data sets of them, and a spotter that is small enough to train here."""

import os

# before torch is loaded: threads that spin while they wait slow each other down on shared cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from tiny_settings import TINY

from dld.config import get_dld_cfg

ROOT = Path(__file__).resolve().parents[1]


def draw_record(words=("stone", "river"), height=96, width=128, ignore=(), image_id="drawn", seed=0, font=0.6) -> dict:
    """A light picture with one dark word a line, as a dataset dict that carries its pixels.

    Args:
        words: drawn from the top, each at a random place of its line.
        ignore: which of them are don't care (by index).
        font: OpenCV's size; 0.6 gives capitals about 13 pixels high.
    """
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(200, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    annotations = []
    for i, text in enumerate(words):
        (w, h), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font, 1)
        x = int(rng.integers(2, max(width - w - 2, 3)))
        line = height // max(len(words), 1)
        y = i * line + (line + h) // 2 - 1
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, font, (20, 30, 40), 1, cv2.LINE_AA)
        box = [x - 1, y - h - 1, x + w + 1, y + below]
        annotations.append(annotation(box_polygon(box), text, i in ignore))
    return {
        "file_name": f"{image_id}.png",
        "image_id": image_id,
        "height": height,
        "width": width,
        "image": image,
        "annotations": annotations,
    }


def box_polygon(box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)


def annotation(polygon, text, ignore=False) -> dict:
    polygon = np.asarray(polygon, dtype=np.float32)
    return {
        "bbox": [*polygon.min(0).tolist(), *polygon.max(0).tolist()],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "iscrowd": 0,
        "segmentation": [polygon.ravel().tolist()],
        "polygon": polygon,
        "text": text,
        "ignore": ignore,
    }


@pytest.fixture
def tiny_cfg(tmp_path):
    """configs/teacher_tiny.yaml shrunk until a training step takes a few hundredths of a second."""
    cfg = get_dld_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "teacher_tiny.yaml"))
    cfg.merge_from_list(TINY)
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    os.makedirs(cfg.OUTPUT_DIR)
    return cfg


@pytest.fixture(autouse=True)
def one_thread():
    """Whatever a command of the test before has set."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture
def storage():
    """detectron2's event storage, without which its training code does not run."""
    with EventStorage(0) as events:
        yield events


@pytest.fixture
def make_record():
    """:func:`draw_record`."""
    return draw_record


@pytest.fixture
def make_annotation():
    """:func:`annotation`."""
    return annotation


@pytest.fixture
def register_records():
    """Register a list of dataset dicts under a name for the length of a test."""
    names = []

    def register(name: str, records: list[dict], protocol: str = "icdar2015") -> str:
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(
            thing_classes=["text"], evaluator_type="text_spotting", protocol=protocol, image_root="", json_file=""
        )
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def small_set(register_records, make_record):
    """Four pictures of two words each, registered as `drawn_words`."""
    pairs = [("stone", "river"), ("Blue", "42"), ("exit", "Cafe"), ("north", "a-b")]
    return register_records("drawn_words", [draw_record(words, image_id=f"drawn_{i}", seed=i) for i, words in enumerate(pairs)])


@pytest.fixture
def tiny_weights(tiny_cfg):
    """Checkpoints of untrained spotters that find something in every picture, as files: "teacher", a plain one, and
    "student", one of three scales whose selector prefers different ones for different pictures."""
    from detectron2.modeling import build_model

    import dld.modeling  # noqa: F401  only registration
    from dld.data.dataset_mapper import TextDatasetMapper
    from dld.engine.checkpoint import SpotterCheckpointer

    tiny_cfg.INPUT.MIN_SIZE_TEST = 192
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.TEST.DETECTIONS_PER_IMAGE = 4
    tiny_cfg.MODEL.SELECTOR.SCALES = [0.4, 0.6, 0.8]
    tiny_cfg.MODEL.SELECTOR.RESOLUTION.CHANNELS = [8, 16]
    paths = {}
    for name, architecture in (("teacher", "TextSpottingRCNN"), ("student", "DynamicSpotter")):
        tiny_cfg.MODEL.META_ARCHITECTURE = architecture
        torch.manual_seed(len(paths))
        model = build_model(tiny_cfg)
        recognizer = getattr(model, "student", model).roi_heads.recognizer
        recognizer.decoder.output.bias.data[recognizer.charset.end] -= 1000  # no empty words
        if name == "student":
            torch.nn.init.normal_(model.selector.head.weight)
            mapper = TextDatasetMapper(tiny_cfg, False)
            with torch.no_grad():
                # scores are centred on a few pictures, and spread: else one scale would win everywhere
                pictures = model.normalize([mapper(draw_record(seed=seed)) for seed in range(6)])
                model.selector.head.bias -= model.score_scales(pictures).mean(0)
                for parameter in model.selector.head.parameters():
                    parameter *= 30
        SpotterCheckpointer(model, tiny_cfg.OUTPUT_DIR, extra={"config": tiny_cfg.dump()}).save(name)
        paths[name] = os.path.join(tiny_cfg.OUTPUT_DIR, f"{name}.pth")
    return paths
