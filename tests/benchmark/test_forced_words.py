import torch

from dld.benchmark.forced_words import annotated_boxes, forced_words, random_boxes
from dld.data.dataset_mapper import TextDatasetMapper
from dld.inference.predictor import TextSpotter
from dld.inference.scale_choice import at_scale


def test_exactly_the_given_words_are_read_at_every_scale(tiny_cfg, tiny_weights, make_record):
    model = TextSpotter.from_checkpoint(tiny_weights["student"]).model
    record = TextDatasetMapper(tiny_cfg, False)(make_record(("stone", "river", "exit")))
    boxes, size = annotated_boxes(record), tuple(record["image"].shape[-2:])
    assert len(boxes) == 3 and size == (192, 256)
    half = at_scale(model, 0.5)
    steps = []
    decoder = model.student.roi_heads.recognizer.decoder
    step = decoder.step
    decoder.step = lambda *args: steps.append(1) or step(*args)
    with torch.inference_mode(), forced_words(model.student, steps=6) as given:
        given.update(boxes=boxes, size=size)
        for reader in (model.student, half):
            steps.clear()
            words = reader([record])[0]["instances"]
            # the record is 96 x 128, the network's image twice that
            torch.testing.assert_close(words.pred_boxes.tensor, boxes / 2, atol=1e-3, rtol=0)
            assert len(steps) == 6
        given["boxes"] = boxes[:0]
        assert len(half([record])[0]["instances"]) == 0
    assert model.student.roi_heads.recognizer.max_length == tiny_cfg.MODEL.RECOGNITION.MAX_LENGTH
    assert len(model.student([record])[0]["instances"]) == 4, "what it finds by itself"


def test_random_words_lie_in_the_image():
    boxes = random_boxes(40, (64, 100))
    assert boxes.shape == (40, 4) and (boxes >= 0).all()
    assert (boxes[:, 2] <= 100).all() and (boxes[:, 3] <= 64).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides > 5).all() and 0 < (sides[:, 1] > 1.5 * sides[:, 0]).sum() < 20
