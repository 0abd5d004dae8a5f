"""A folder in which documented commands run: a checkout's folders, and stand-ins for the files that the documents speak of.

What earlier commands would leave (`output/teacher_tiny/model_best.pth`) are the shipped weights under those names.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

__all__ = ["ROOT", "make_checkout", "make_stand_ins"]

ROOT = Path(__file__).resolve().parents[2]

WEIGHTS = {
    "teacher_tiny": (
        "output/teacher_tiny/model_best.pth",
        "output/teacher_tiny/model_final.pth",
        "output/pretrain_tiny/model_final.pth",
        "model_final.pth",
        "output/german/model_best.pth",
    ),
    "dld_tiny": (
        "output/dld_tiny/model_best.pth",
        "output/skd_only/model_final.pth",
        "output/vanilla_multiscale/model_final.pth",
        "output/dld_tiny.safetensors",
        "output/dld_tiny_gamma03.safetensors",
        "output/without_skd.safetensors",
        "output/ablations/skd_only/model_best.pth",
        "dld_tiny_budget60.safetensors",
    ),
}
"""Shipped weights -> files that stand for trained ones."""

DATASETS = (
    "icdar2013_train",
    "icdar2015_train",
    "icdar2015_test",
    "icdar2017_mlt_train",
    "totaltext_train",
    "totaltext_val",
    "totaltext_test",
)
PICTURES = ("photo.jpg", "a.jpg", "b.jpg", "folder/c.jpg", "more/d.png", "photos/e.jpg", "photos/deep/f.jpg")
BOX = (20, 20, 190, 70)


def picture(word: str = "HOTEL") -> Image.Image:
    """A sign of 256 x 96 pixels with one word that anybody can read, at BOX."""
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    image = Image.new("RGB", (256, 96), (240, 240, 235))
    draw = ImageDraw.Draw(image)
    draw.text((BOX[0], BOX[3]), word, font=ImageFont.truetype(str(font), 44), fill=(20, 25, 40), anchor="ls")
    return image


def annotation(names: list[str]) -> dict:
    """Pictures of one word each as an annotation file."""
    x0, y0, x1, y1 = BOX
    words = [{"polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "text": "HOTEL", "ignore": False}]
    images = [{"file_name": n, "id": Path(n).stem, "width": 256, "height": 96, "words": words} for n in names]
    return {"schema": "dld-text/1", "name": "signs", "images": images}


def make_stand_ins(folder: Path) -> None:
    """Everything the commands read, except what belongs to a checkout."""
    for name in (*PICTURES, "signs/0001.jpg", *(f"data/{d}/images/img_{k}.jpg" for d in DATASETS for k in (1, 2))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(folder / name, quality=95)
    for name in DATASETS:
        _write_json(folder / "data" / name / "annotations.json", annotation(["img_1.jpg", "img_2.jpg"]))
    _write_json(folder / "signs.json", annotation(["0001.jpg"]))
    _write_json(folder / "labels.json", annotation(["e.jpg"]))
    (folder / "german.txt").write_text(bytes(range(32, 127)).decode() + "ÄÖÜäöüß\n", encoding="utf-8")
    (folder / "words.txt").write_text("Straße\nTür\n", encoding="utf-8")
    (folder / "list.txt").write_text("photos/e.jpg\nphotos/deep/f.jpg\n", encoding="utf-8")
    _film(folder / "clip.mp4")
    for name in ("scan.tif", "scans/report.tif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(folder / name, save_all=True, append_images=[picture("MUSEUM")])
    _submission(folder)
    _release(folder / "FOLDER_WITH_THE_UNPACKED_FILES")
    _weights(folder)


def make_checkout(stand_ins: Path, folder: Path) -> None:
    """A folder with copies of the stand-ins (links to what is large) and links to the checkout's own folders."""

    def put(source: str, target: str) -> None:
        if os.path.getsize(source) > 1 << 20:
            os.symlink(source, target)
        else:
            shutil.copyfile(source, target)

    shutil.copytree(stand_ins, folder, copy_function=put, dirs_exist_ok=True)
    for name in ("configs", "dld", "projects", "requirements", "tests", "Makefile", "README.md", "pyproject.toml", "setup.py"):
        (folder / name).symlink_to(ROOT / name)


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def _film(path: Path) -> None:
    from dld.inference.video import VideoWriter

    with VideoWriter(path, 10.0, (256, 96)) as writer:
        for _ in range(2):
            writer.write(np.asarray(picture())[:, :, ::-1])


def _submission(folder: Path) -> None:
    """ICDAR 2015's files for two images read perfectly, our results of the same, and lexicons."""
    from dld.structures.words import SpottingResult, Word, write_results

    x0, y0, x1, y1 = BOX
    line = f"{x0},{y0},{x1},{y0},{x1},{y1},{x0},{y1},HOTEL\n"
    for name, prefix in (("ch4_gt.zip", "gt_"), ("submission.zip", "res_")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for k in (1, 2):
                archive.writestr(f"{prefix}img_{k}.txt", line)
    words = [Word("HOTEL", [[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]
    results = [SpottingResult(f"img_{k}", f"img_{k}.jpg", 256, 96, words) for k in (1, 2)]
    write_results(folder / "output" / "teacher_tiny" / "icdar2015_test_results.json", results, "icdar2015_test")
    (folder / "lexicons" / "icdar2015").mkdir(parents=True)
    for k in (1, 2):
        (folder / "lexicons" / "icdar2015" / f"voc_img_{k}.txt").write_text("HOTEL\nMOTEL\n")


def _release(folder: Path) -> None:
    """Total-Text's training set with one photo of each of our parts."""
    for name in ("img11", "img20"):
        (folder / "Images" / "Train").mkdir(parents=True, exist_ok=True)
        (folder / "gt" / "Train").mkdir(parents=True, exist_ok=True)
        picture().save(folder / "Images" / "Train" / f"{name}.jpg")
        x0, y0, x1, y1 = BOX
        line = f"x: [[{x0} {x1} {x1} {x0}]], y: [[{y0} {y0} {y1} {y1}]], ornt: [u'h'], transcriptions: [u'HOTEL']\n"
        (folder / "gt" / "Train" / f"poly_gt_{name}.txt").write_text(line)


def _weights(folder: Path) -> None:
    from dld.model_zoo import find_weights
    from dld.weights import load_weights_file

    for name, files in WEIGHTS.items():
        shipped = find_weights(name)
        as_checkpoint = folder / f"{name}.pth"
        torch.save(load_weights_file(shipped), as_checkpoint)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(shipped if file.endswith(".safetensors") else as_checkpoint, folder / file)
