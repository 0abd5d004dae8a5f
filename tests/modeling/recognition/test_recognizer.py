import pytest
import torch
from detectron2.layers import ShapeSpec

from dld.modeling.recognition.recognizer import RecognitionFeatures, build_recognizer, trim
from dld.structures.padded_polygons import PaddedPolygons
from dld.text.charset import Charset

SHAPE = ShapeSpec(channels=16, stride=4)


def random_features(count: int) -> RecognitionFeatures:
    return RecognitionFeatures(torch.randn(count, 16, 8, 32), torch.randn(count, 33, 16), torch.randn(count, 33, 16))


def test_every_size_follows_from_the_charset_file(tiny_cfg, tmp_path):
    (tmp_path / "digits.txt").write_text("0123456789")
    tiny_cfg.MODEL.RECOGNITION.CHARSET_FILE = str(tmp_path / "digits.txt")
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    state = recognizer.state_dict()
    assert state["decoder.embedding.weight"].shape[0] == 12
    assert state["decoder.output.weight"].shape[0] == state["ctc_head.weight"].shape[0] == 11
    assert Charset.from_codes(state["charset_codes"]) == Charset("0123456789")


def test_without_weight_there_is_no_ctc_head(tiny_cfg):
    tiny_cfg.MODEL.RECOGNITION.CTC_WEIGHT = 0.0
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    assert not any("ctc" in name for name in recognizer.state_dict())
    assert list(recognizer.losses(random_features(1), recognizer.charset.encode("a", 10)[None])) == ["loss_rec"]


def test_the_ctc_loss_carries_its_weight(tiny_cfg):
    tiny_cfg.MODEL.RECOGNITION.CTC_WEIGHT = 0.5
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    features, targets = random_features(2), torch.stack([recognizer.charset.encode(t, 10) for t in ("ab", "c")])
    half = recognizer.losses(features, targets)["loss_ctc"]
    recognizer.ctc_weight = 2.0
    torch.testing.assert_close(recognizer.losses(features, targets)["loss_ctc"], 4 * half)


@pytest.mark.parametrize("feature", ["columns", "context"])
def test_the_ctc_loss_reads_the_feature_it_is_told_to(tiny_cfg, feature):
    tiny_cfg.MODEL.RECOGNITION.CTC_FEATURE = feature
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    features, targets = random_features(1), recognizer.charset.encode("ab", 10)[None]
    before = recognizer.losses(features, targets)["loss_ctc"]
    for name in ("columns", "context"):
        changed = recognizer.losses(features._replace(**{name: torch.randn(1, 33, 16)}), targets)["loss_ctc"]
        assert torch.equal(changed, before) == (name != feature)


def test_padding_beyond_the_longest_word_costs_no_steps(tiny_cfg):
    charset = Charset("xyz")
    targets = torch.stack([charset.encode(t, 8) for t in ("x", "xyz", "")])
    assert trim(targets, charset.pad).tolist() == [[1, 0, 4, 4], [1, 2, 3, 0], [0, 4, 4, 4]]
    assert trim(targets[:0], charset.pad).shape == (0, 1)


@pytest.mark.parametrize("count", [0, 3])
def test_features_of_annotated_words(tiny_cfg, count):
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    box = torch.tensor([[4.0, 4, 60, 20]]).repeat(count, 1)
    polygons = PaddedPolygons.from_list([[[4, 4], [60, 4], [60, 20], [4, 20]]] * count)
    level, tall = torch.randn(2, 16, 24, 24), torch.zeros(count, dtype=torch.bool)
    reading = recognizer.ground_truth_features(level, [box, box[:0]], polygons, tall)
    assert reading.roi.shape == (count, 16, 8, 32) and reading.context.shape == (count, 33, 16)
    assert recognizer.read(reading.context).ids.shape[0] == count
    losses = recognizer.losses(reading, torch.stack([recognizer.charset.encode("ab", 10)] * 3)[:count])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in recognizer.parameters())


def test_a_readable_corpus_of_one_word_is_learned(tiny_cfg):
    """The gradient reaches every part: the word's text comes out after some steps."""
    torch.manual_seed(0)
    recognizer = build_recognizer(tiny_cfg, SHAPE)
    box, polygons = torch.tensor([[0.0, 0, 64, 16]]), PaddedPolygons.from_list([[[0, 0], [64, 0], [64, 16], [0, 16]]])
    level, tall = torch.randn(1, 16, 4, 16), torch.tensor([False])
    target = recognizer.charset.encode("ab", 10)[None]
    optimizer = torch.optim.Adam(recognizer.parameters(), 0.03)
    for _ in range(30):
        losses = recognizer.losses(recognizer.ground_truth_features(level, [box], polygons, tall), target)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    with torch.no_grad():
        context = recognizer.ground_truth_features(level, [box], polygons, tall).context
    assert recognizer.charset.decode(recognizer.read(context).ids[0].tolist()) == "ab"
