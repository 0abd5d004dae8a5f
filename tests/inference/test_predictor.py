"""Facts about reading pictures with a checkpoint."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from PIL import Image

from dld import model_zoo
from dld.config import configured_charset, get_dld_cfg
from dld.inference.predictor import TextSpotter, portable_config
from dld.weights import config_from_checkpoint, load_weights_file, save_safetensors


@pytest.fixture
def spotter(tiny_weights):
    return TextSpotter.from_checkpoint(tiny_weights["student"])


def words_of(result):
    return [(w.text, w.score, w.polygon.tolist(), w.char_scores) for w in result.words]


def test_a_file_gives_the_words_of_its_pixels(spotter, make_record, tmp_path):
    image = make_record()["image"]
    cv2.imwrite(str(tmp_path / "drawn.png"), image)
    from_pixels, from_file = spotter(image), spotter(tmp_path / "drawn.png")
    assert len(from_pixels.words) == 4 and words_of(from_pixels) == words_of(from_file)
    assert from_pixels.file_name is None and from_file.file_name == str(tmp_path / "drawn.png")
    assert (from_file.width, from_file.height) == (128, 96) and from_file.image_id is None
    json.loads(from_file.to_json())


def test_words_lie_in_the_picture_whatever_its_size(spotter, make_record):
    """The network's input has short side 192, the pictures have not."""
    small = make_record(height=48, width=64, font=0.3)["image"]
    for image in (small, cv2.resize(small, (640, 480), interpolation=cv2.INTER_NEAREST)):
        result = spotter(image)
        assert (result.height, result.width) == image.shape[:2] and len(result.words) == 4
        points = np.concatenate([w.polygon for w in result.words])
        assert (points >= 0).all() and (points <= [result.width, result.height]).all()
        assert np.ptp(points, axis=0).min() > 0.2 * result.height


def test_reading_is_deterministic(spotter, make_record):
    image = make_record()["image"]
    first = spotter(image)
    torch.manual_seed(99)
    assert spotter(image).to_dict() == first.to_dict()
    assert not spotter.model.training


def test_scale_and_cost_are_in_the_result_of_a_dynamic_spotter(spotter, tiny_weights, make_record):
    image = make_record()["image"]
    result = spotter(image)
    assert result.scale in (0.4, 0.6, 0.8) and 0 < result.cost < 1
    plain = TextSpotter.from_checkpoint(tiny_weights["teacher"])(image)
    assert plain.scale is None and plain.cost is None and len(plain.words) == 4


def test_options_override_the_checkpoints_configuration(tiny_weights, make_record):
    opts = ["MODEL.SELECTOR.FIXED_SCALE", 0.6, "TEST.DETECTIONS_PER_IMAGE", "2"]
    result = TextSpotter.from_checkpoint(tiny_weights["student"], opts)(make_record()["image"])
    assert result.scale == 0.6 and len(result.words) == 2


def test_without_cuda_a_checkpoint_from_a_gpu_runs_on_the_cpu(tiny_weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spotter = TextSpotter.from_checkpoint(tiny_weights["teacher"], ["MODEL.DEVICE", "cuda:0"])
    assert spotter.model.device == torch.device("cpu") and spotter.cfg.MODEL.DEVICE == "cpu"


def test_the_device_is_a_gpu_where_there_is_one_unless_it_is_named(tiny_weights, monkeypatch):
    """Not the device of the machine that trained the weights."""
    built = []
    monkeypatch.setattr(TextSpotter, "__init__", lambda self, cfg, fuse: built.append(cfg.MODEL.DEVICE))
    TextSpotter.from_checkpoint(tiny_weights["teacher"])
    TextSpotter.from_checkpoint(tiny_weights["teacher"], ["MODEL.DEVICE", "cuda:1"])
    TextSpotter.from_checkpoint(tiny_weights["teacher"], ["MODEL.DEVICE", "cuda:1"], device="cpu")
    assert built == ["cuda", "cuda:1", "cpu"]
    for device in ("gpu", "cuda:77"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used"):
            TextSpotter.from_checkpoint(tiny_weights["teacher"], device=device)


def test_the_weights_are_those_of_the_file(tiny_weights):
    state = TextSpotter.from_checkpoint(tiny_weights["teacher"], fuse=False).model.state_dict()
    stored = load_weights_file(tiny_weights["teacher"])["model"]
    assert state.keys() == stored.keys() and all(torch.equal(v, stored[k]) for k, v in state.items())


def test_batch_norm_is_folded_unless_told_otherwise(tiny_weights, make_record):
    image = make_record()["image"]
    folded, plain = (TextSpotter.from_checkpoint(tiny_weights["student"], fuse=fuse) for fuse in (True, False))
    norms = [sum("running_var" in key for key in spotter.model.state_dict()) for spotter in (folded, plain)]
    assert norms[0] == 0 < norms[1]
    one, other = folded(image), plain(image)
    assert one.scale == other.scale and one.cost == other.cost
    assert [w.text for w in one.words] == [w.text for w in other.words] != []
    for a, b in zip(one.words, other.words, strict=True):
        assert a.score == pytest.approx(b.score, rel=1e-4)
        np.testing.assert_allclose(a.polygon, b.polygon, atol=0.1)


def test_what_is_no_picture_is_refused(spotter):
    for image, message in (
        (np.zeros((20, 20, 3), complex), "expected pixels as whole numbers or fractions, got complex128"),
        (np.zeros((3, 20, 20), np.uint8), "its channels come first"),
        (torch.zeros(3, 20, 20), "expected a path, a NumPy array, a PIL image, or a list of them, got torch.Tensor"),
        (7, "got int"),
        (None, "got NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            spotter(image)
        with pytest.raises(ValueError, match=f"picture 1: .*{message}"):
            spotter([np.zeros((20, 20, 3), np.uint8), image])


def test_files_that_are_no_pictures_are_named(spotter, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ValueError, match="notes.png"):
        spotter(tmp_path / "notes.png")
    with pytest.raises(FileNotFoundError, match="missing.png"):
        spotter(tmp_path / "missing.png")


def test_pictures_of_extreme_shapes_are_read(spotter):
    """As a whole, which is reduced to less than a pixel, and in tiles: 20,000 columns would be hundreds."""
    sizes = ((1, 1), (1, 20_000), (3, 20_000), (700, 2), (1, 1_000), (3, 1_000))
    for size in sizes:
        result = spotter(np.full((*size, 3), 127, np.uint8), tile="off" if max(size) > 1_000 else "auto")
        assert (result.height, result.width) == size


def test_coordinates_are_those_of_the_upright_picture(spotter, make_record, tmp_path):
    image = make_record()["image"]
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    turned = Image.fromarray(image[:, :, ::-1]).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "phone.png", exif=exif)
    assert words_of(spotter(tmp_path / "phone.png")) == words_of(spotter(image))


def test_a_picture_in_which_nothing_is_found(tiny_weights):
    spotter = TextSpotter.from_checkpoint(tiny_weights["student"], ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.1])
    assert spotter(np.full((50, 70, 3), 127, np.uint8)).words == []


def test_weights_without_configuration_are_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match=r"foreign\.pth holds no configuration"):
        config_from_checkpoint(str(tmp_path / "foreign.pth"))
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        TextSpotter.from_checkpoint("missing.pth")


def test_the_configuration_points_at_its_checkpoint(tiny_weights):
    cfg = config_from_checkpoint(tiny_weights["student"])
    assert cfg.MODEL.WEIGHTS == tiny_weights["student"] and cfg.MODEL.META_ARCHITECTURE == "DynamicSpotter"
    assert cfg.MODEL.SELECTOR.SCALES == [0.4, 0.6, 0.8]


def test_shipped_weights_are_found_by_name(tiny_weights, tmp_path, monkeypatch, make_record):
    loaded = load_weights_file(tiny_weights["teacher"])
    path = str(tmp_path / "small.safetensors")
    save_safetensors(path, loaded["model"], {"config": loaded["config"]}, half=False)
    entry = {"file": os.path.basename(path), "sha256": model_zoo.sha256_of(path)}
    (tmp_path / "index.json").write_text(json.dumps({"small": entry}))
    monkeypatch.setattr(model_zoo, "FOLDER", tmp_path)
    image = make_record()["image"]
    shipped = TextSpotter.from_pretrained("small", "cpu", ["TEST.DETECTIONS_PER_IMAGE", 4])
    assert words_of(shipped(image)) == words_of(TextSpotter.from_checkpoint(tiny_weights["teacher"])(image))
    with pytest.raises(KeyError, match="no shipped weights are called 'large'; there are: small"):
        TextSpotter.from_pretrained("large")


def test_a_portable_configuration_carries_its_charset(tiny_cfg, tmp_path):
    """The file of the training machine is not needed any more, and a character such as # or a quote survives yaml."""
    (tmp_path / "own.txt").write_text("ab#'\" é:\n", encoding="utf-8")
    tiny_cfg.MODEL.RECOGNITION.CHARSET_FILE = str(tmp_path / "own.txt")
    portable = portable_config(tiny_cfg)
    (tmp_path / "own.txt").unlink()
    assert str(tmp_path) not in portable.dump()
    again = get_dld_cfg()
    again.merge_from_other_cfg(CfgNode.load_cfg(portable.dump()))
    assert configured_charset(again).characters == tuple("ab#'\" é:")


def test_a_mu_that_is_asked_for_replaces_the_stored_one(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.META_ARCHITECTURE = "DynamicSpotter"
    torch.save({"model": build_model(tiny_cfg).state_dict(), "config": tiny_cfg.dump()}, tmp_path / "w.pth")
    assert float(TextSpotter.from_checkpoint(str(tmp_path / "w.pth")).model.mu) == 0
    assert float(TextSpotter.from_checkpoint(str(tmp_path / "w.pth"), ["MODEL.SELECTOR.MU", 0.5]).model.mu) == 0.5


def test_a_folder_without_graphs_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        TextSpotter.from_onnx(tmp_path)
