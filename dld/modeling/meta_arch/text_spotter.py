"""The base spotter: Mask R-CNN whose heads also read. Teacher and student are both this model."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances

from dld.modeling.postprocess import spotting_postprocess
from dld.modeling.recognition.recognizer import RecognitionFeatures
from dld.text.charset import Charset
from dld.utils.analysis import evaluating

__all__ = ["TextSpottingRCNN"]


def inference_dtype(name: str) -> torch.dtype | None:
    """What MODEL.INFERENCE_DTYPE says; None for float32, in which nothing is converted.

    Raises:
        ValueError: it is neither float32, bfloat16 nor float16.
    """
    known = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(f"MODEL.INFERENCE_DTYPE must be one of {', '.join(known)}, got {name!r}")
    return known[name]


@META_ARCH_REGISTRY.register()
class TextSpottingRCNN(GeneralizedRCNN):
    """GeneralizedRCNN whose `roi_heads` is a :class:`~dld.modeling.roi_heads.text_roi_heads.TextROIHeads`.

    In training, `forward` returns the losses of proposals, boxes, masks and recognition. At test it returns one dict
    per image with "instances" in the pixels of the image the input says it came from (`height`, `width`); their
    fields are those of :func:`~dld.modeling.postprocess.spotting_postprocess`.

    Args:
        recognition_only: train backbone and recogniser alone, on annotated boxes: the cheap first stage of training.
        inference_dtype: number format of convolutions and matrix products at test; None: float32. The recogniser's
            recurrences, box decoding and RoIAlign stay in float32.
        min_text_score: words read less surely are left out at test, see `spotting_postprocess`.
    """

    @configurable
    def __init__(
        self,
        *,
        recognition_only: bool = False,
        channels_last: bool = False,
        inference_dtype: torch.dtype | None = None,
        min_text_score: float = 0.0,
        **rcnn,
    ) -> None:
        super().__init__(**rcnn)
        if not 0 <= min_text_score <= 1:
            raise ValueError(f"MODEL.RECOGNITION.SCORE_THRESH_TEST must be in [0, 1], got {min_text_score}")
        self.min_text_score = min_text_score
        self.recognition_only = recognition_only
        self.inference_dtype = inference_dtype
        self.channels_last = channels_last
        if recognition_only:
            self._freeze_detection()
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        ret = super().from_config(cfg)
        ret["recognition_only"] = cfg.MODEL.RECOGNITION.ONLY
        ret["channels_last"] = cfg.MODEL.CHANNELS_LAST
        ret["min_text_score"] = cfg.MODEL.RECOGNITION.SCORE_THRESH_TEST
        ret["inference_dtype"] = inference_dtype(cfg.MODEL.INFERENCE_DTYPE)
        return ret

    def _freeze_detection(self) -> None:
        # what recognition does not touch gets no gradient, for which distributed training would wait in vain
        heads = [m for name, m in self.roi_heads.named_children() if name != "recognizer"]
        for module in (self.proposal_generator, *heads, *self.backbone.output_convs[:-1]):
            module.requires_grad_(False)

    @property
    def charset(self) -> Charset:
        return self.roi_heads.recognizer.charset

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise, pad and batch; in the memory format the convolutions were laid out for."""
        images = super().preprocess_image(batched_inputs)
        if self.channels_last:
            images.tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return images

    def forward(self, batched_inputs: list[dict]):
        """Losses by name in training, a list of output dicts at test; see the class."""
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        # an image is sampled alike in whichever process and at whichever place of the batch it is
        images.sampling_seeds = [x.get("sampling_seed") for x in batched_inputs]
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        losses, reading, words = self.losses(images, targets)
        return losses

    def losses(
        self, images: ImageList, targets: list[Instances]
    ) -> tuple[dict[str, torch.Tensor], RecognitionFeatures, list[Instances]]:
        """Every loss of the spotter, the recognition features they were computed on, and the words read per image.

        Args:
            images: normalised, padded batch.
            targets: annotated words per image in pixels of that batch.
        """
        losses = {}
        if self.recognition_only:
            level = self.backbone.finest(images.tensor)
        else:
            features = self.backbone(images.tensor)
            proposals, proposal_losses = self.proposal_generator(images, features, targets)
            losses.update(proposal_losses)
            losses.update(self.roi_heads.detection_losses(images, features, proposals, targets))
            level = features[self.roi_heads.recognizer_feature]
        reading, words = self.roi_heads.read_ground_truth(level, targets)
        losses.update(self.roi_heads.recognition_losses(reading, words))
        return losses, reading, words

    def recognize(self, images: torch.Tensor, targets: list[Instances]) -> tuple[RecognitionFeatures, list[Instances]]:
        """Recognition features of annotated words through backbone, top-down path and recogniser only."""
        return self.roi_heads.read_ground_truth(self.backbone.finest(images), targets)

    @torch.no_grad()
    def find_and_recognize(self, images: ImageList, targets: list[Instances]) -> tuple[RecognitionFeatures, list[Boxes]]:
        """Recognition features of annotated words, and the boxes that the spotter keeps at test, one `Boxes` an image.

        Args:
            images: normalised, padded batch.
            targets: annotated words per image in pixels of that batch.
        """
        features = self.backbone(images.tensor)
        with evaluating(self.proposal_generator), evaluating(self.roi_heads):
            proposals, _ = self.proposal_generator(images, features, None)
            # as in `spot`
            features = {name: level.float() for name, level in features.items()}
            kept = self.roi_heads.find_boxes(features, proposals)
        reading, _ = self.roi_heads.read_ground_truth(features[self.roi_heads.recognizer_feature], targets)
        return reading, [x.pred_boxes for x in kept]

    def spot(self, images: ImageList) -> list[Instances]:
        """Words of a normalised, padded batch, in pixels of that batch; see `spotting_postprocess` for what is in them."""
        reduced = self.inference_dtype is not None
        with torch.autocast(images.tensor.device.type, self.inference_dtype, enabled=reduced):
            features = self.backbone(images.tensor)
            proposals, _ = self.proposal_generator(images, features, None)
            if reduced:
                # RoIAlign takes boxes in the dtype of the features: in bfloat16 x = 1003 would become 1004
                features = {name: level.float() for name, level in features.items()}
            return self.roi_heads(images, features, proposals, None)[0]

    def postprocess(self, results: list[Instances], batched_inputs: list[dict]) -> list[dict]:
        """Polygons and text in the pixels of the images the inputs say they came from (`height`, `width`)."""
        return [
            {
                "instances": spotting_postprocess(
                    r,
                    x.get("height", r.image_size[0]),
                    x.get("width", r.image_size[1]),
                    self.charset,
                    self.min_text_score,
                )
            }
            for r, x in zip(results, batched_inputs, strict=True)
        ]

    def inference(self, batched_inputs: list[dict], detected_instances=None, do_postprocess: bool = True):
        """As in GeneralizedRCNN; post-processing gives polygons and text."""
        if detected_instances is not None:
            results = super().inference(batched_inputs, detected_instances, do_postprocess=False)
        else:
            results = self.spot(self.preprocess_image(batched_inputs))
        return self.postprocess(results, batched_inputs) if do_postprocess else results
