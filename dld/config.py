"""Every configuration key that DLD adds to detectron2's."""

from __future__ import annotations

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from dld.text.charset import Charset

__all__ = [
    "DISTILLER",
    "READER_TRAINING",
    "add_dld_config",
    "add_model_keys",
    "chooses_scale",
    "configured_charset",
    "distils",
    "forget_training_pages",
    "get_dld_cfg",
    "read_without_teacher",
    "spotter_name",
    "trains_reader",
]

CHOOSER = "DynamicSpotter"
DISTILLER = "DistillMetaArch"
READER_TRAINING = "StripDistiller"


# nodes of MODEL that other packages have added
_ADDED: dict[str, CN] = {}


def get_dld_cfg() -> CN:
    """Return detectron2's default configuration with the keys of DLD."""
    cfg = get_cfg()
    add_dld_config(cfg)
    return cfg


def forget_training_pages(cfg: CN) -> None:
    """Let the generated pages of a configuration look as by default, in place: how those of its last training looked does not
    matter for reading, and synthwords_val is one set for all weights."""
    plain = get_dld_cfg().DATASETS
    cfg.DATASETS.SYNTHWORDS, cfg.DATASETS.SYNTHSTRIPS = plain.SYNTHWORDS, plain.SYNTHSTRIPS


def configured_charset(cfg: CN) -> Charset:
    """Build the charset of MODEL.RECOGNITION: CHARACTERS, else CHARSET_FILE, else the 95 printable ASCII characters."""
    node = cfg.MODEL.RECOGNITION
    if node.CHARACTERS:
        return Charset(node.CHARACTERS)
    return Charset.from_file(node.CHARSET_FILE) if node.CHARSET_FILE else Charset.default()


def distils(cfg: CN) -> bool:
    """Tell whether the model is one that a teacher trains."""
    return cfg.MODEL.META_ARCHITECTURE == DISTILLER


def trains_reader(cfg: CN) -> bool:
    """Tell whether the model trains a reader of strips by itself."""
    return cfg.MODEL.META_ARCHITECTURE == READER_TRAINING


def chooses_scale(cfg: CN) -> bool:
    """Tell whether the model chooses the scale of a spotter, which MODEL.SPOTTER names; else it is the spotter itself."""
    return cfg.MODEL.META_ARCHITECTURE in (CHOOSER, DISTILLER)


def spotter_name(cfg: CN) -> str:
    """Return the name of the spotter that a configuration trains or reads with."""
    return cfg.MODEL.SPOTTER if chooses_scale(cfg) else cfg.MODEL.META_ARCHITECTURE


def read_without_teacher(cfg: CN) -> None:
    """Make a distiller the spotter that it trains, in place: the same weights, and no teacher is built. Others stay."""
    if distils(cfg):
        cfg.MODEL.META_ARCHITECTURE = CHOOSER


def add_dld_config(cfg: CN) -> None:
    """Add the keys of DLD, each with its default, to a detectron2 configuration."""
    _add_data(cfg)
    _add_model(cfg)
    _add_distillation(cfg)
    _add_solver(cfg)
    for name, node in _ADDED.items():
        cfg.MODEL[name] = node.clone()


def add_model_keys(name: str, node: CN) -> None:
    """Give every configuration from now on the keys of `node`, with their defaults, under MODEL.`name`.

    So an architecture outside of this package has keys of its own, in files, on command lines and inside weights.

    Raises:
        ValueError: detectron2 or DLD has MODEL.`name`.
    """
    if name not in _ADDED and name in get_dld_cfg().MODEL:
        raise ValueError(f"MODEL.{name} is a key of detectron2 or DLD: give your node another name")
    _ADDED[name] = node.clone()


def _add_data(cfg: CN) -> None:
    # A json of your own (schema dld-text/1) and its image folder, registered under a name usable in DATASETS.TRAIN
    # and DATASETS.TEST: a list of [name, json file, image folder] or [name, json file, image folder, protocol].
    cfg.DATASETS.REGISTER = []
    # How often each training set is drawn, as weights beside DATASETS.TRAIN; empty: by its number of images.
    cfg.DATASETS.TRAIN_WEIGHTS = []

    # The generated data set: image height and width in pixels.
    cfg.DATASETS.SYNTHWORDS = CN()
    cfg.DATASETS.SYNTHWORDS.SIZE = [640, 640]
    # Images in synthwords_val.
    cfg.DATASETS.SYNTHWORDS.VAL_LENGTH = 1000
    # Another stream of images for another seed.
    cfg.DATASETS.SYNTHWORDS.SEED = 0
    # Pack training images with as many words as fit: for training the recogniser.
    cfg.DATASETS.SYNTHWORDS.DENSE = False
    # Use every training image this often, augmented anew each time: where rendering takes longer than the training step.
    cfg.DATASETS.SYNTHWORDS.REUSE = 1
    # Folders of .ttf files and of photographs to use instead of the installed ones.
    cfg.DATASETS.SYNTHWORDS.FONTS_DIR = ""
    cfg.DATASETS.SYNTHWORDS.BACKGROUNDS_DIR = ""
    # Any other field of dld.data.synthesis.config.SynthWordsConfig as [name, value], for example [['curved_rate', 0.0]].
    cfg.DATASETS.SYNTHWORDS.OPTIONS = []

    # The generated strips of single words, for the reader of strips; fonts, backgrounds and words_file are those of SYNTHWORDS.
    cfg.DATASETS.SYNTHSTRIPS = CN()
    # Words of an item, which counts as an image.
    cfg.DATASETS.SYNTHSTRIPS.WORDS = 32
    # Items in synthstrips_val.
    cfg.DATASETS.SYNTHSTRIPS.VAL_LENGTH = 200
    # Another stream of words for another seed.
    cfg.DATASETS.SYNTHSTRIPS.SEED = 0
    # Any other field of dld.data.synthesis.config.SynthStripsConfig as [name, value], for example [['warp', 0.5]].
    cfg.DATASETS.SYNTHSTRIPS.OPTIONS = []

    # Random crop of the training image that cuts no readable word. SIZE is height, width in pixels after resizing.
    cfg.INPUT.TEXT_CROP = CN()
    cfg.INPUT.TEXT_CROP.ENABLED = True
    # [0, 0]: a random size between MIN_SHARE of the image and all of it.
    cfg.INPUT.TEXT_CROP.SIZE = [0, 0]
    cfg.INPUT.TEXT_CROP.MIN_SHARE = 0.5
    # Rotation in degrees, uniform in [-ROTATION, ROTATION]; 0 switches it off.
    cfg.INPUT.ROTATION = 15.0
    # Colour jitter as shares: brightness, contrast and saturation are multiplied by 1 +- these.
    cfg.INPUT.JITTER_BRIGHTNESS = 0.125
    cfg.INPUT.JITTER_CONTRAST = 0.2
    cfg.INPUT.JITTER_SATURATION = 0.5
    # The box that is read in training is the annotated one moved at each side by up to this share of its shorter side:
    # at test it will be a predicted one.
    cfg.INPUT.READ_BOX_JITTER = 0.08
    # Points of each side of a word in the training targets (`gt_fiducials`), for what learns where words run; 0: none.
    cfg.INPUT.SIDE_POINTS = 0
    # Most characters of a word in the training targets (`gt_characters`), for what learns where characters are; 0: none.
    cfg.INPUT.CHARACTERS = 0
    # Where a data set does not know them, characters are spread evenly along the word's sides; else such words have none.
    cfg.INPUT.CHARACTERS_SPREAD = True
    # Most words read per training image; the others still train the detector.
    cfg.INPUT.MAX_READ_WORDS = 64


def _add_model(cfg: CN) -> None:
    # Convolutions in channels-last layout: on CPU and recent GPUs markedly faster.
    cfg.MODEL.CHANNELS_LAST = True
    # Number format of convolutions and matrix products at test: "float32", "bfloat16" or "float16"; "auto" is bfloat16 where
    # the processor computes in it, else float32. Scores, and now and then a word, differ from those of float32.
    cfg.MODEL.INFERENCE_DTYPE = "float32"
    # Load a checkpoint of another charset: keep the rows of the characters both have, start the others anew.
    cfg.MODEL.CHARSET_TRANSFER = False
    # Read pickled (.pkl) weights. A pickle can run any code when it is loaded: only for files you trust.
    cfg.MODEL.TRUST_PICKLE = False

    # The network that finds and reads, where MODEL.META_ARCHITECTURE is what chooses its scale or teaches it (DynamicSpotter,
    # DistillMetaArch): "TextSpottingRCNN", "TextPerceptron" or "Mango".
    cfg.MODEL.SPOTTER = "TextSpottingRCNN"

    cfg.MODEL.TEXT = CN()
    # A proposal or anchor with this share of its area on a don't-care word is neither word nor background.
    cfg.MODEL.TEXT.IGNORE_OVERLAP = 0.5
    # How often the box head is asked where a word is: from the second time on about the boxes that are kept, which then lie
    # better; their scores stay those of the first time. In training it also learns to move such boxes, with this weight.
    cfg.MODEL.TEXT.BOX_ROUNDS = 1
    cfg.MODEL.TEXT.BOX_ROUNDS_WEIGHT = 0.5

    # Learning rate of the bottom-up network as a multiple of SOLVER.BASE_LR, for one that starts trained.
    cfg.MODEL.BACKBONE.LR_FACTOR = 1.0

    # The small backbone: channels and blocks of res2..res5.
    cfg.MODEL.TINY_RESNET = CN()
    cfg.MODEL.TINY_RESNET.WIDTHS = [32, 64, 128, 256]
    cfg.MODEL.TINY_RESNET.BLOCKS = [2, 2, 2, 2]
    cfg.MODEL.TINY_RESNET.NORM = "BN"

    # Blocks of 1x1 and depth-wise convolutions (dld.modeling.layers.parsimonious) in the place of 3x3 convolutions of the same
    # width: a list of "fpn" (output convolutions of the pyramid), "rpn", "stem" and "encoder" (of the recogniser of crops) and
    # "mask".
    cfg.MODEL.PARSIMONIOUS = CN()
    cfg.MODEL.PARSIMONIOUS.WHERE = []
    # p and m: one p-th of the channels sees its neighbours, in layers of a p m-th of them.
    cfg.MODEL.PARSIMONIOUS.GROUPS = 2
    cfg.MODEL.PARSIMONIOUS.REDUCTION = 2
    # Batches on which a student's new blocks are fitted to its teacher's convolutions before distillation; 0: they stay random.
    cfg.MODEL.PARSIMONIOUS.FIT_BATCHES = 200

    # Numbers of channels of layers that are narrower than the other keys say: a list of [name, width], which a search of widths
    # or `dld pack --thin` writes into its weights; training takes them from MODEL.WEIGHTS.
    cfg.MODEL.PRUNED_WIDTHS = []
    # A search of such widths (dld.modeling.compression; configs/search_widths_ppocr.yaml): indicators of channels are learned
    # beside the weights, and what remains is written to model_cut.pth at the end.
    cfg.MODEL.COMPRESSION = CN()
    cfg.MODEL.COMPRESSION.ENABLED = False
    # Where channels may go: a list of "backbone", "neck" (of build_text_convnet_fpn_backbone), "rpn", "box", "mask" and
    # "encoder" (of the recogniser of crops). Empty: wherever this spotter has channels that can go and cost something at test.
    cfg.MODEL.COMPRESSION.WHERE = []
    # Wanted cost, as a share of what the spotter's own layers cost at full width, without the reading of strips: of a 4:3
    # picture at the size of test with SELECTOR.EXPECTED_WORDS words. No penalty from (1 - TOLERANCE) RHO to RHO.
    cfg.MODEL.COMPRESSION.RHO = 0.6
    cfg.MODEL.COMPRESSION.TOLERANCE = 0.02
    # Weights of the penalty of the cost, and of the mean of all indicators, beside the losses. The first must outweigh what a
    # channel is worth: of dld_tiny 1 moves few of the backbone's.
    cfg.MODEL.COMPRESSION.COST_WEIGHT = 10.0
    cfg.MODEL.COMPRESSION.MEAN_WEIGHT = 0.01
    # Learning rate (Adam) of the indicators' alpha; 0: 15 divided by the number of their steps, 0.01 for 1,500.
    cfg.MODEL.COMPRESSION.ALPHA_LR = 0.0
    # Share of the steps in which the weights learn alone, at the beginning; then each step is of weights and of indicators.
    cfg.MODEL.COMPRESSION.WARMUP = 0.1
    # Temperature of the indicators at the end of the search; it begins with 1.
    cfg.MODEL.COMPRESSION.TEMPERATURE = 0.02
    # Data sets whose images teach the indicators; empty: those of DATASETS.TRAIN, at places that the training does not reach.
    cfg.MODEL.COMPRESSION.VALIDATION = []
    # Batches on which batch norm that is trained gets statistics for the narrower layers.
    cfg.MODEL.COMPRESSION.NORM_BATCHES = 100

    # The spotter "TextPerceptron": words from maps, without proposals.
    cfg.MODEL.TEXT_PERCEPTRON = CN()
    # Points of each side of a word; annotated sides need as many (INPUT.SIDE_POINTS).
    cfg.MODEL.TEXT_PERCEPTRON.POINTS = 7
    # Groups of the norm behind the heads' convolutions; 0: no norm, as published.
    cfg.MODEL.TEXT_PERCEPTRON.GROUPS = 0
    # Class of a cell in the targets: "share", the highest one that covers a quarter of it; "pixel", what lies at its middle.
    cfg.MODEL.TEXT_PERCEPTRON.MAPS = "share"
    # Between which points words are read in training: "annotated" ones; "regressed", those that the predicted offsets give on
    # the annotated cells, so that reading trains the offsets, too.
    cfg.MODEL.TEXT_PERCEPTRON.READ_POINTS = "annotated"
    # Weights of the four Dice losses, of the corners' offsets from head and tail, and of the outline's offsets from the centre.
    cfg.MODEL.TEXT_PERCEPTRON.SEGMENTATION_WEIGHT = 1.0
    cfg.MODEL.TEXT_PERCEPTRON.CORNER_WEIGHT = 0.1
    cfg.MODEL.TEXT_PERCEPTRON.OUTLINE_WEIGHT = 0.01
    # Least probability of a cell of centre, head, tail and boundary; least share of a centre's contacts that are with its
    # boundary; least mean probability of its cells, which is the word's detection score.
    cfg.MODEL.TEXT_PERCEPTRON.THRESHOLDS = [0.35, 0.45, 0.45, 0.35]
    cfg.MODEL.TEXT_PERCEPTRON.CONTACT_SHARE = 0.6
    cfg.MODEL.TEXT_PERCEPTRON.SCORE_THRESH_TEST = 0.35

    # "Mango": words are read through maps of their characters, which the cells of a grid give (dld.modeling.mango). It reads
    # P2; WIDTH and MAX_LENGTH are those of RECOGNITION, of whose other keys it has no use. Words need sides
    # (INPUT.SIDE_POINTS).
    cfg.MODEL.MANGO = CN()
    # "attention": the first stage, which learns where words and their characters are, and reads nothing; "end_to_end".
    cfg.MODEL.MANGO.STAGE = "end_to_end"
    # Rows and columns of the grid, laid over each image whatever its size.
    cfg.MODEL.MANGO.GRID = 40
    # How the level becomes the grid: "area", by means; "bilinear", sampled at the middles of its cells, as published.
    cfg.MODEL.MANGO.GRID_POOLING = "area"
    # 3x3 convolutions of the towers of kernels, features and reading; groups of their norms; groups in the segmentation's long
    # block, 0: no norm there, as published.
    cfg.MODEL.MANGO.CONVS = 4
    cfg.MODEL.MANGO.GROUPS = 32
    cfg.MODEL.MANGO.BLOCK_GROUPS = 0
    # Width of the two layers that classify a position.
    cfg.MODEL.MANGO.FC_DIM = 512
    # Features under a map are divided by its mass: "mean"; or not: "sum", as published.
    cfg.MODEL.MANGO.FUSION = "mean"
    # Probability that an untrained category gives a cell: a few in a hundred lie on words. 0: one half, as published.
    cfg.MODEL.MANGO.CATEGORY_PRIOR = 0.01
    # Weights of the losses. Characters need INPUT.CHARACTERS; 0 where none are annotated. That of reading is
    # RECOGNITION.LOSS_WEIGHT.
    cfg.MODEL.MANGO.SEGMENTATION_WEIGHT = 1.0
    cfg.MODEL.MANGO.CATEGORY_WEIGHT = 1.0
    cfg.MODEL.MANGO.CHARACTER_WEIGHT = 3.0
    # Least probability of a cell of segmentation and category; components of no more cells of 4 x 4 pixels are noise; least
    # mean probability of its cells, which is the word's detection score.
    cfg.MODEL.MANGO.THRESHOLDS = [0.5, 0.5]
    cfg.MODEL.MANGO.LEAST_CELLS = 8
    cfg.MODEL.MANGO.SCORE_THRESH_TEST = 0.0
    # Outlines are rectangles of the middles of words: "shrunk", as published; or "grown" to the size of words.
    cfg.MODEL.MANGO.RECTANGLES = "shrunk"
    # Cells that read a word, for the cost law alone.
    cfg.MODEL.MANGO.CELLS_PER_WORD = 2

    cfg.MODEL.RECOGNITION = CN()
    # "TextRecognizer" reads masked crops of a level; "AnchorRecognizer" the level along a word's characters (ANCHORS);
    # "StripRecognizer" straightened strips of the photo, from the weights MODEL.STRIPS.WEIGHTS on (it needs INPUT.SIDE_POINTS,
    # and MODEL.STRIPS.TRAINING.DECODER_WIDTH to teach or be taught).
    cfg.MODEL.RECOGNITION.NAME = "TextRecognizer"
    # Train backbone and recogniser only, on annotated boxes.
    cfg.MODEL.RECOGNITION.ONLY = False
    # UTF-8 file with all characters; empty: the 95 printable ASCII ones.
    cfg.MODEL.RECOGNITION.CHARSET_FILE = ""
    # The characters themselves instead of a file: how packed weights carry their charset.
    cfg.MODEL.RECOGNITION.CHARACTERS = ""
    # Most characters of a word; longer ones are treated as don't care.
    cfg.MODEL.RECOGNITION.MAX_LENGTH = 32
    # Pyramid level the words are cropped from.
    cfg.MODEL.RECOGNITION.IN_FEATURE = "p2"
    # Channels of the convolution before cropping, and of encoder and decoder.
    cfg.MODEL.RECOGNITION.STEM_DIM = 256
    cfg.MODEL.RECOGNITION.WIDTH = 256
    cfg.MODEL.RECOGNITION.NORM = "BN"
    # Rows and columns of a crop.
    cfg.MODEL.RECOGNITION.POOLER_RESOLUTION = [8, 32]
    cfg.MODEL.RECOGNITION.POOLER_SAMPLING_RATIO = 2
    # Weight of reading beside finding: less than 1 where strips are read, whose reader does not use these features.
    cfg.MODEL.RECOGNITION.LOSS_WEIGHT = 1.0
    # Weight of the auxiliary CTC loss; 0 builds none. It is put on the "context" feature or on the encoder's convolutional
    # "columns", whose alignment is found earlier: there is no recurrence between them and the loss.
    cfg.MODEL.RECOGNITION.CTC_WEIGHT = 0.0
    cfg.MODEL.RECOGNITION.CTC_FEATURE = "columns"
    # "AnchorRecognizer" reads words as they stand, however they are turned or bent: it finds their characters (anchors) on maps
    # of heat and order, and reads the features along them. In training the anchors are annotated: INPUT.CHARACTERS must be at
    # least MAX_LENGTH.
    cfg.MODEL.RECOGNITION.ANCHORS = CN()
    # Columns that are gathered along the anchors of a word.
    cfg.MODEL.RECOGNITION.ANCHORS.COLUMNS = 33
    # Radius of a character on the map of heat, as a share of its shortest side; how far anchors move in training, as a share
    # of that radius.
    cfg.MODEL.RECOGNITION.ANCHORS.RADIUS = 0.3
    cfg.MODEL.RECOGNITION.ANCHORS.JITTER = 0.1
    # Least heat of a character that is found.
    cfg.MODEL.RECOGNITION.ANCHORS.THRESH = 0.3
    # Weights of the losses of the two maps.
    cfg.MODEL.RECOGNITION.ANCHORS.HEAT_WEIGHT = 1.0
    cfg.MODEL.RECOGNITION.ANCHORS.ORDER_WEIGHT = 1.0
    # Words read at once at test.
    cfg.MODEL.RECOGNITION.WORDS_PER_CHUNK = 256
    # Who reads at test: "" the recogniser itself, from masked crops of its level, or "StripRecognizer", a trained reader of
    # straightened strips that are cut from the photo (MODEL.STRIPS). Either way it is the recogniser that is trained and
    # distilled. NAME StripRecognizer reads by itself.
    cfg.MODEL.RECOGNITION.READER = ""
    # For masked crops: at test a word whose characters are less probable than this (geometric mean) is dropped: what looks
    # like text but cannot be read is mostly not text. 0 keeps all. The cost counts every word that was read, kept or not.
    cfg.MODEL.RECOGNITION.SCORE_THRESH_TEST = 0.0

    cfg.MODEL.STRIPS = CN()
    # Weights of the reader of strips: a .safetensors file, or dld://NAME for shipped ones.
    cfg.MODEL.STRIPS.WEIGHTS = "dld://strip_reader"
    # Weights that were distilled to read strips of 24 and 16 rows; empty: those above read all heights.
    cfg.MODEL.STRIPS.LOW_WEIGHTS = ""
    # What makes columns of a strip's pixels, in a reader that is trained: "ppocr", the layers of PP-OCRv6; "pyramid", a copy of
    # the spotter's own backbone and pyramid (MODEL.BACKBONE), whose finest level is read; "stem", a copy of its stem and first
    # stage, with two convolutions more. Others come by STRIP_ENCODER_REGISTRY. A trained reader's file says which one it has.
    cfg.MODEL.STRIPS.ENCODER = CN()
    cfg.MODEL.STRIPS.ENCODER.NAME = "ppocr"
    # Weights of a spotter with this backbone, from which the copy starts; empty: random. The rest starts from STRIPS.WEIGHTS.
    cfg.MODEL.STRIPS.ENCODER.WEIGHTS = "dld://teacher_tiny"
    # What reads the columns of a strip: "ctc"; "attention", a decoder, which the weights must hold; or "joint": CTC proposes
    # five readings, and both choose among them. ONNX folders have "ctc".
    cfg.MODEL.STRIPS.HEAD = "ctc"
    # Share of the decoder in a joint reading: 0 is CTC's choice, 1 the decoder's.
    cfg.MODEL.STRIPS.DECODER_WEIGHT = 0.2
    # Characters that strips are read with: "" those of MODEL.RECOGNITION; "ascii"; "latin", with letters with accents, currency
    # and quotes; "all" that the weights know.
    cfg.MODEL.STRIPS.CHARSET = ""
    # The only characters that can be read, such as "0123456789."; empty: all of them. A space stays the gap between words.
    cfg.MODEL.STRIPS.ALLOW = ""
    # Boxes of at least this detection score are read, in place of ROI_HEADS.SCORE_THRESH_TEST; of those, only the ones
    # that a sure reading can lift to SCORE_THRESH: with 0.6, boxes of at least 0.36.
    cfg.MODEL.STRIPS.DETECTION_THRESH = 0.1
    # Words of at least this score, of detection and reading together, are kept (dld.strips.scoring.word_score), in place of
    # RECOGNITION.SCORE_THRESH_TEST. 0 keeps all outlines, readable or not.
    cfg.MODEL.STRIPS.SCORE_THRESH = 0.6
    # An outline in which the reader sees spaces becomes several words, each with its part of the outline: what scoring by words
    # wants. False: one text with spaces, for lines.
    cfg.MODEL.STRIPS.SPLIT_AT_SPACES = True
    # Outlines that overlap end to end are read together, too, and are one word where one is read that begins as the first and
    # ends as the second: large words are found in pieces.
    cfg.MODEL.STRIPS.JOIN_PIECES = True
    # Heights of strips in pixels, of 48, 32, 24 and 16. Of several each word gets the largest that enlarges it at most so many
    # times: a strip of 48 rows has 40 of text, so with 2.0 a word of 20 pixels gets them.
    cfg.MODEL.STRIPS.ROWS = [48, 32]
    cfg.MODEL.STRIPS.MOST_ENLARGED = 2.0
    # What a word is expected to lose at each of ROWS, measured by `dld calibrate --rows-from`: a list for each height, its rows
    # and losses, in words, of words below 12, 16, 20, 28, 40, 64 pixels in the photo, and above. Where a selector chooses
    # scales, each word then gets the height whose loss and cost are least at the selector's price of computing
    # (MODEL.SELECTOR.MU), never a larger one than MOST_ENLARGED allows. Empty: MOST_ENLARGED alone chooses.
    cfg.MODEL.STRIPS.ROWS_LOSSES = []
    # Shares of words in these seven classes of height: what a budget expects of reading.
    cfg.MODEL.STRIPS.HEIGHT_SHARES = []
    # Words that are read less surely than this (mean probability of a character) are read upside down, too, and the surer
    # reading counts: for photos in which words stand on their heads. 0: none. Words taller than wide are read from both ends
    # anyway.
    cfg.MODEL.STRIPS.TURN_BELOW = 0.0
    # How words of images are straightened in training: "blend", the straight blend of their sides, as at test; "tps", a
    # thin-plate spline.
    cfg.MODEL.STRIPS.STRAIGHTENING = "blend"
    # What finds the two sides between which a word's strip is cut: "mask", the shape of its predicted outline, with nothing to
    # learn; "points", regression of annotated sides; "scrn", maps of the centre line; "stn", through reading alone; or a name
    # in LOCATOR_REGISTRY (dld.modeling.recognition.locators). Learned ones are a part of the spotter and its checkpoints, look
    # at the level MODEL.RECOGNITION.IN_FEATURE, and need a spotter that reads strips. ONNX folders have "mask".
    cfg.MODEL.STRIPS.LOCATOR = CN()
    cfg.MODEL.STRIPS.LOCATOR.NAME = "mask"
    # Train the locator alone, beside a frozen spotter, on annotated boxes.
    cfg.MODEL.STRIPS.LOCATOR.ONLY = False
    # Weight of its losses. In distillation the student's locator learns by them, too, weighted like reading (REC_WEIGHT); that
    # of a teacher is not asked.
    cfg.MODEL.STRIPS.LOCATOR.LOSS_WEIGHT = 1.0
    # A learned locator is asked at test only about words that the mask shows bent so far: largest distance of the centre line
    # from its chord as a share of the word's height. The others have the sides of the mask. 0: about all words.
    cfg.MODEL.STRIPS.LOCATOR.LEAST_BEND = 0.1
    # Points of each side; annotated sides need as many (INPUT.SIDE_POINTS).
    cfg.MODEL.STRIPS.LOCATOR.POINTS = 7
    # Learned locators look at a square of so many cells on each side, larger than the word's box by this share.
    cfg.MODEL.STRIPS.LOCATOR.VIEW = 16
    cfg.MODEL.STRIPS.LOCATOR.ENLARGE = 0.1
    cfg.MODEL.STRIPS.LOCATOR.WIDTH = 32
    # "points": where smooth L1 turns from square to straight, as a share of the view.
    cfg.MODEL.STRIPS.LOCATOR.BETA = 0.05
    # "stn": weight of the penalty against folding a word.
    cfg.MODEL.STRIPS.LOCATOR.FOLD_WEIGHT = 1.0
    # The training of the reader, by itself (configs/reader_ppocr.yaml) or with the spotter (MODEL.RECOGNITION.NAME
    # StripRecognizer): heights of the student's strips, how often each is drawn (empty: equally often; by itself only), and
    # the heights that are scored.
    cfg.MODEL.STRIPS.TRAINING = CN()
    cfg.MODEL.STRIPS.TRAINING.ROWS = [24, 16]
    cfg.MODEL.STRIPS.TRAINING.ROWS_WEIGHTS = []
    cfg.MODEL.STRIPS.TRAINING.TEST_ROWS = [48, 32, 24, 16]
    # Most images of a test set; 0: all.
    cfg.MODEL.STRIPS.TRAINING.TEST_IMAGES = 0
    # By itself: DATASETS.TEST is scored whenever so many more words were read in training, into curve.json and curve.png of
    # OUTPUT_DIR; 0: never.
    cfg.MODEL.STRIPS.TRAINING.CURVE_WORDS = 250_000
    # By how much of a word's height its annotated sides move: at test they are predicted ones.
    cfg.MODEL.STRIPS.TRAINING.SIDE_JITTER = 0.05
    # Losses: CTC to the annotation; to the frozen reader characters, softened by each temperature, and column features.
    cfg.MODEL.STRIPS.TRAINING.CTC_WEIGHT = 0.25
    # Width of a new attention decoder for a reader without one, 0: none; the weight of its loss, and the share of its gradient
    # that reaches the columns: it harmed them. With no other loss the decoder is trained alone, and the rest stays bit for bit.
    cfg.MODEL.STRIPS.TRAINING.DECODER_WIDTH = 0
    cfg.MODEL.STRIPS.TRAINING.ATTENTION_WEIGHT = 1.0
    cfg.MODEL.STRIPS.TRAINING.ATTENTION_SHARE = 0.0
    # Steps for each batch that is read, where the decoder is trained alone: columns of up to 50,000 words are kept, and steps
    # of 96 words are drawn from them. Reading is what costs.
    cfg.MODEL.STRIPS.TRAINING.COLUMN_REUSE = 1
    # Factor of the learning rate of a reader that is trained with the spotter, its decoder left out: it comes trained.
    cfg.MODEL.STRIPS.TRAINING.LR_FACTOR = 0.1
    cfg.MODEL.STRIPS.TRAINING.CHARACTERS_WEIGHT = 1.0
    cfg.MODEL.STRIPS.TRAINING.COLUMNS_WEIGHT = 1.0
    cfg.MODEL.STRIPS.TRAINING.TEMPERATURES = [1.0, 2.0]
    # Columns of a strip where the cost must be known before reading, at most 808.
    cfg.MODEL.STRIPS.EXPECTED_WIDTH = 160


def _add_distillation(cfg: CN) -> None:
    cfg.MODEL.DISTILLATION = CN()
    # Checkpoint of the trained teacher; the student starts from it too unless MODEL.WEIGHTS says otherwise.
    cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = ""
    # What the teacher's network is built from: a yaml file, or weights that carry their configuration. Empty: the
    # configuration inside TEACHER_WEIGHTS, where there is one, else that of the student.
    cfg.MODEL.DISTILLATION.TEACHER_CONFIG = ""
    # Numbers of the cost law of a teacher that is of another architecture than the student (training writes them), so that
    # shares of the teacher's cost are known without it. Empty: the student's own.
    cfg.MODEL.DISTILLATION.TEACHER_COST = []
    # Weight of cost against accuracy in the selector's training: 0.1 accuracy first, 0.3 cost first (paper).
    cfg.MODEL.DISTILLATION.GAMMA = 0.1
    # K, the sequences that the teacher decodes per word, and the width of its beam search (>= K).
    cfg.MODEL.DISTILLATION.NUM_SEQUENCES = 3
    cfg.MODEL.DISTILLATION.BEAM_WIDTH = 3
    # Which head of the teacher gives them: "attention", its decoder, or "ctc", the head of MODEL.RECOGNITION.CTC_WEIGHT.
    cfg.MODEL.DISTILLATION.BEAMS = "attention"
    # "weighted": by the teacher's scores, per character; "paper": -log sum_k p_student(y_k).
    cfg.MODEL.DISTILLATION.SEQUENCE_FORM = "weighted"
    # "beams"; "right_beams": those of the words that the teacher reads right; or "forced_top1": one sequence, decoded under the
    # annotated prefix as the reference code does.
    cfg.MODEL.DISTILLATION.SEQUENCE_TARGETS = "beams"
    # Weights of recognition and of the three distillation losses; 0 switches one off.
    cfg.MODEL.DISTILLATION.REC_WEIGHT = 1.0
    cfg.MODEL.DISTILLATION.ROI_WEIGHT = 1.0
    cfg.MODEL.DISTILLATION.CONTEXT_WEIGHT = 1.0
    cfg.MODEL.DISTILLATION.SEQUENCE_WEIGHT = 1.0
    # Keep the teacher's batch-norm statistics in the student, whose images come at mixed scales.
    cfg.MODEL.DISTILLATION.FREEZE_NORM = True

    # Every so many steps the share of each loss in the gradient is logged: at the student's pyramid of those of finding, at its
    # crops of those of reading (of a reader of strips: its columns). 0: never.
    cfg.MODEL.DISTILLATION.GRADIENT_SHARES_PERIOD = 0
    # "gradient_share": the losses of distillation are scaled so that each has the share that BALANCE_SHARES, pairs like
    # ["loss_kd_roi", 0.2], gives it of the gradient there; it is measured every GRADIENT_SHARES_PERIOD steps. Empty: not.
    cfg.MODEL.DISTILLATION.BALANCE = ""
    cfg.MODEL.DISTILLATION.BALANCE_SHARES = []

    # Instead of single features the student learns from weighted sums of the teacher's layers, of its crops (ROI_WEIGHT) and of
    # its columns (CONTEXT_WEIGHT), which a search of SEARCH_STEPS steps finds at the beginning of the training (DFA,
    # dld.modeling.meta_arch.layer_aggregation).
    cfg.MODEL.DISTILLATION.AGGREGATION = CN()
    cfg.MODEL.DISTILLATION.AGGREGATION.ENABLED = False
    cfg.MODEL.DISTILLATION.AGGREGATION.SEARCH_STEPS = 1000
    # Learning rate (Adam) of the weights of the layers.
    cfg.MODEL.DISTILLATION.AGGREGATION.BETA_LR = 0.05
    # Weights, in the search, of the student's distance to the sum, and of the losses of reading from the sum.
    cfg.MODEL.DISTILLATION.AGGREGATION.GAMMA_ST = 1.0
    cfg.MODEL.DISTILLATION.AGGREGATION.GAMMA_TS = 1.0
    # Given weights, a list for the crops and one for the columns, the shallowest layer first; empty: they are searched.
    cfg.MODEL.DISTILLATION.AGGREGATION.BETA = []
    # Each scale of the selector has weights of its own.
    cfg.MODEL.DISTILLATION.AGGREGATION.BY_SCALE = False

    # Finding: the student learns what the teacher's box and mask heads say of the teacher's proposals and finds at full size
    # (dld.modeling.losses.finding_distillation). Weights of the four losses; all 0: off.
    cfg.MODEL.DISTILLATION.FINDING = CN()
    cfg.MODEL.DISTILLATION.FINDING.CLASS_WEIGHT = 0.0
    cfg.MODEL.DISTILLATION.FINDING.BOX_WEIGHT = 0.0
    cfg.MODEL.DISTILLATION.FINDING.MASK_WEIGHT = 0.0
    cfg.MODEL.DISTILLATION.FINDING.FEATURE_WEIGHT = 0.0
    # Most proposals of an image, and most of the finds among them whose masks are compared; the least score of such a find.
    cfg.MODEL.DISTILLATION.FINDING.PROPOSALS = 100
    cfg.MODEL.DISTILLATION.FINDING.FINDS = 24
    cfg.MODEL.DISTILLATION.FINDING.SCORE_THRESH = 0.3

    cfg.MODEL.SELECTOR = CN()
    # Without a selector training scales are drawn uniformly from SCALES.
    cfg.MODEL.SELECTOR.ENABLED = True
    # Candidate scales of the teacher's resolution; 1.0 may be one.
    cfg.MODEL.SELECTOR.SCALES = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    # Who scores them: "ResolutionSelector", "BackboneSelector" or "WordLossSelector", each with a node of its own below.
    cfg.MODEL.SELECTOR.NAME = "ResolutionSelector"
    # The selector reads a copy of the image reduced by this.
    cfg.MODEL.SELECTOR.INPUT_SCALE = 0.375
    # Train and test every image at this scale; 0: ask the selector.
    cfg.MODEL.SELECTOR.FIXED_SCALE = 0.0
    # Share of the training scales drawn uniformly, or the rarely chosen ones stop being trained.
    cfg.MODEL.SELECTOR.UNIFORM_SHARE = 0.15
    cfg.MODEL.SELECTOR.WEIGHT = 1.0
    # Its learning rate as a multiple of SOLVER.BASE_LR: the student starts trained, the selector's head does not.
    cfg.MODEL.SELECTOR.LR_FACTOR = 1.0
    # Gradient clip of the selector alone.
    cfg.MODEL.SELECTOR.CLIP_VALUE = 5.0
    # At test the score of a scale is lowered by MU x its cost; EXPECTED_WORDS are assumed in an image for that.
    cfg.MODEL.SELECTOR.MU = 0.0
    cfg.MODEL.SELECTOR.EXPECTED_WORDS = 8.0

    # "ResolutionSelector": a small network of its own; output channels of its stem and blocks.
    cfg.MODEL.SELECTOR.RESOLUTION = CN()
    cfg.MODEL.SELECTOR.RESOLUTION.CHANNELS = [16, 32, 64, 96]
    _add_image_objective(cfg.MODEL.SELECTOR.RESOLUTION)

    # The backbone whose first stages the two selectors below consist of, a ResNet; empty: MODEL.BACKBONE.NAME, with its weights
    # at the start.
    cfg.MODEL.SELECTOR.STAGES_OF = ""

    # "BackboneSelector": the spotter's first stages, up to LEVEL, which know text from the start.
    cfg.MODEL.SELECTOR.BACKBONE = CN()
    cfg.MODEL.SELECTOR.BACKBONE.LEVEL = "res3"
    _add_image_objective(cfg.MODEL.SELECTOR.BACKBONE)

    # "WordLossSelector": the same stages, and maps of where words are and of what each scale loses on them; it learns from
    # every word by itself.
    cfg.MODEL.SELECTOR.WORDS = CN()
    cfg.MODEL.SELECTOR.WORDS.LEVEL = "res3"
    # What counts as the loss of a word: "reading", how much less probable its text is for the student than for the teacher;
    # "spotting", the same with words that the student no longer finds lost, which takes its detection at every scale.
    cfg.MODEL.SELECTOR.WORDS.LOSS = "reading"
    # The sum over an image's words is divided by this.
    cfg.MODEL.SELECTOR.WORDS.PER_IMAGE = 4.0
    # Unit of the scores.
    cfg.MODEL.SELECTOR.WORDS.TARGET_TEMPERATURE = 0.1


def _add_image_objective(node: CN) -> None:
    # "risk": the scores regress -(KL + gamma cost) / TARGET_TEMPERATURE; "soft_target": cross entropy to the softmax of that;
    # "gumbel": the paper's straight-through choice with a temperature of TEMPERATURE x DECAY^(EPOCHS x progress).
    node.FORM = "risk"
    node.TARGET_TEMPERATURE = 0.1
    node.TEMPERATURE = 5.0
    node.DECAY = 0.965
    node.EPOCHS = 50


def _add_solver(cfg: CN) -> None:
    # "AdamW" or "SGD".
    cfg.SOLVER.OPTIMIZER = "AdamW"
    # Number format under SOLVER.AMP.ENABLED: "float16" or "bfloat16" on GPU; a CPU takes "bfloat16" where it has
    # instructions for it, else float32.
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Batch size that BASE_LR is meant for; the rate is multiplied by IMS_PER_BATCH / this. 0: BASE_LR as it stands.
    cfg.SOLVER.REFERENCE_BATCH = 0
    # Wall-clock minutes after which training ends as if at MAX_ITER; 0: no limit.
    cfg.SOLVER.MAX_MINUTES = 0.0
    # Protocol that scores every set of DATASETS.TEST; empty: each is scored by its own.
    cfg.TEST.PROTOCOL = ""
    # Iterations between two pictures of predictions in tensorboard and OUTPUT_DIR/pictures; 0: none.
    cfg.TEST.PICTURE_PERIOD = 0
    # Images drawn each time.
    cfg.TEST.PICTURES = 4
    # Images in a batch at test.
    cfg.TEST.IMS_PER_BATCH = 1
