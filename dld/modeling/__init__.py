"""Networks, losses and decoders. Importing this package registers them with detectron2."""

from dld.modeling.backbone import finest_fpn, text_convnet_fpn, tiny_resnet  # noqa: F401  only registration
from dld.modeling.meta_arch import (  # noqa: F401  only registration
    distill,
    dynamic_spotter,
    mango,
    strip_distiller,
    text_perceptron,
    text_spotter,
)
from dld.modeling.proposal_generator import text_rpn  # noqa: F401  only registration
from dld.modeling.recognition import anchor_recognizer, spotter_encoders, strip_network  # noqa: F401  only registration
from dld.modeling.resolution import backbone_selector, word_loss_selector  # noqa: F401  only registration
from dld.modeling.roi_heads import text_roi_heads  # noqa: F401  only registration
