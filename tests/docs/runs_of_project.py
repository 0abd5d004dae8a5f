"""How the commands of projects/DLD/README.md and of its docs/ are run."""

from __future__ import annotations

from run_settings import (
    LOCAL,
    ONE,
    ONE_GPU,
    SMALL,
    SMALL_SPOTTER,
    SMALL_WORDS,
    STEP,
    TEACHER_WEIGHTS,
    TOOLS,
    TRAIN,
    TWO,
    Run,
    make,
)

__all__ = ["PROJECT"]

PYTHON_ONNX = """from dld import TextSpotter
spotter = TextSpotter.from_onnx("exported/dld_tiny")   # device="cuda" with onnxruntime-gpu
print([word.text for word in spotter("photo.jpg").words])
results = spotter(["a.jpg", "b.jpg"], batch_size=2, budget=0.6)"""
PYTHON_LINES = """from dld import TextSpotter

result = TextSpotter.from_pretrained("teacher_tiny")("photo.jpg")
print(result.text)                       # a line of text for each line, in the order of reading
for line in result.lines:
    print(line.block, line.text, line.box, [word.score for word in line.words])"""
PYTHON_DOCUMENT = """from dld import TextSpotter
from dld.documents.formats import FORMATS
from dld.documents.page import DocumentPage

result = TextSpotter.from_pretrained("teacher_tiny")("photo.jpg")
open("photo.hocr", "wb").write(FORMATS["hocr"].write([DocumentPage(result)]))"""
PYTHON_PAGES = """from dld import TextSpotter
from dld.data.pages import read_pages

spotter = TextSpotter.from_pretrained("teacher_tiny")
for number, result in enumerate(spotter(read_pages("scan.tif")), 1):
    print(number, result.text)"""
SERVE = "dld serve --pretrained teacher_tiny"
PYTHON_CLIENT = """import json
import urllib.request

with open("photo.jpg", "rb") as photo:
    request = urllib.request.Request("http://127.0.0.1:8000/read?rotation=auto", photo.read())
with urllib.request.urlopen(request, timeout=60) as answer:
    print([word["text"] for word in json.load(answer)["words"]])"""
EXPORT = "dld export --weights output/dld_tiny/model_best.pth --output exported/dld_tiny --images photos/"
ANALYZED = ("output/study/results.json", "output/study/table.md", "output/study/accuracy_cost.png")
STUDY = (
    f"{TOOLS}/analyze_model.py --teacher output/teacher_tiny/model_final.pth "
    "--student 'without SKD=output/without_skd.safetensors' --student 'with SKD=output/dld_tiny.safetensors' "
    "--student 'with SKD, gamma 0.3=output/dld_tiny_gamma03.safetensors' --dataset synthwords_val --limit 1000 "
    "--output output/study --scales 0.3 0.4 0.5 0.6 0.7 0.8 1.0 --student-scales 0.3 0.4 0.5 0.6 0.7 0.8 "
    "--only-chosen 'with SKD, gamma 0.3' --baseline 'without SKD' --budgets 0.3 0.35 0.4 0.5 --threads 1 --examples 0 "
    "--times output/times/results.json --opts MODEL.INFERENCE_DTYPE bfloat16 MODEL.RECOGNITION.SCORE_THRESH_TEST 0.5 "
    "DATASETS.SYNTHWORDS.OPTIONS '[]'"
)
FIT = f"{TOOLS}/fit_selector.py --student output/skd_only/model_final.pth --teacher output/teacher_tiny/model_final.pth "

SEARCH = f"{TRAIN}/search_widths_ppocr.yaml MODEL.WEIGHTS dld://dld_tiny"
SEARCH_ONE = f"{ONE} MODEL.COMPRESSION.NORM_BATCHES 1"
THIN = "dld pack --checkpoint dld_tiny --output uniform.safetensors --thin 0.6"


def pytest_files(command: str) -> Run:
    """Tests that are part of the suite and run there: here only whether the options find them."""
    return Run(append="--collect-only -q", own_process=True, slow=True, says="tests collected")


def served(port: int, says: str, own_process: bool = True) -> Run:
    """A client of a server on a port of its own."""
    return Run(
        beside=(f"{SERVE} --port {port}", "pictures are read at"),
        change=(("8000", str(port)),),
        needs="fastapi_offline",
        own_process=own_process,
        slow=True,
        says=says,
    )


PROJECT = {
    SERVE: Run(append="--port 17862", needs="fastapi_offline", own_process=True, stop_at="pictures are read at", slow=True),
    "curl --data-binary @photo.jpg http://127.0.0.1:8000/read": served(17863, '"text": "HOT'),
    'curl -F files=@a.jpg -F files=@b.jpg "http://127.0.0.1:8000/read?scale=0.5"': served(17864, '"file_name": "b.jpg"'),
    f"{TOOLS}/load_server.py --pretrained teacher_tiny --clients 8 --seconds 600": Run(
        append="--clients 2 --seconds 3", needs="fastapi_offline", own_process=True, slow=True, says="wrong: 0",
    ),
    PYTHON_CLIENT: served(17865, "HOT", own_process=False),
    f"{TRAIN}/pretrain_tiny.yaml": Run(append=ONE, leaves=("output/pretrain_tiny/config.yaml",), slow=True),
    f"{TRAIN}/teacher_tiny.yaml MODEL.WEIGHTS output/pretrain_tiny/model_final.pth": Run(
        append=f"{ONE} DATASETS.TEST '()'", leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
    f"{TRAIN}/pretrain_anchors_tiny.yaml": Run(
        append=ONE, leaves=("output/pretrain_anchors_tiny/model_final.pth",), slow=True,
    ),
    f"{TRAIN}/teacher_anchors_tiny.yaml MODEL.WEIGHTS output/pretrain_anchors_tiny/model_final.pth": Run(
        first=f"{TRAIN}/pretrain_anchors_tiny.yaml {ONE}", append=f"{ONE} DATASETS.TEST '()'", slow=True,
        leaves=("output/teacher_anchors_tiny/model_final.pth",),
    ),
    "dld analyze --given-words --teacher output/teacher_tiny/model_best.pth "
    "--student anchors=output/teacher_anchors_tiny/model_final.pth --dataset synthwords_val --limit 300 "
    "--output output/given_words": Run(
        first=f"{TRAIN}/teacher_anchors_tiny.yaml {ONE} DATASETS.TEST '()'", change=(("300", "2"),), slow=True,
        append="--opts MODEL.DEVICE cpu DATASETS.SYNTHWORDS.SIZE [96,128] INPUT.MIN_SIZE_TEST 96",
        leaves=("output/given_words/given_words.json", "output/given_words/given_words.md"),
    ),
    f"{TRAIN}/text_perceptron_tiny.yaml MODEL.WEIGHTS dld://teacher_tiny": Run(
        append=f"{ONE} DATASETS.TEST '()'", leaves=("output/text_perceptron_tiny/model_final.pth",), slow=True,
    ),
    f"{TRAIN}/text_perceptron_tiny.yaml MODEL.WEIGHTS output/text_perceptron_tiny/model_final.pth DATASETS.TRAIN "
    "\"('synthwords_train', 'totaltext_train')\" DATASETS.TRAIN_WEIGHTS \"[2, 3]\" DATASETS.TEST \"('totaltext_val',)\" "
    "SOLVER.LR_SCHEDULER_NAME WarmupCosineLR SOLVER.MAX_ITER 1300 SOLVER.WARMUP_ITERS 40": Run(
        first=f"{TRAIN}/text_perceptron_tiny.yaml {ONE} DATASETS.TEST '()'", append=f"{ONE} DATASETS.TEST '()'",
        leaves=("output/text_perceptron_tiny/model_final.pth",), slow=True,
    ),
    f"{TRAIN}/dld_text_perceptron_tiny.yaml {TEACHER_WEIGHTS} output/text_perceptron_tiny/model_best.pth": Run(
        first=f"{TRAIN}/text_perceptron_tiny.yaml {ONE} DATASETS.TEST '()'", change=(("model_best", "model_final"),),
        append=f"{ONE} DATASETS.TEST '()'", leaves=("output/dld_text_perceptron_tiny/model_final.pth",), slow=True,
    ),
    f"{TRAIN}/dld_tiny.yaml {TEACHER_WEIGHTS} output/teacher_tiny/model_best.pth": Run(
        append=f"{ONE} DATASETS.TEST '()'", leaves=("output/dld_tiny/config.yaml",), slow=True,
    ),
    f"{TRAIN}/dld_ppocr.yaml MODEL.WEIGHTS dld://dld_tiny {TEACHER_WEIGHTS} dld://teacher_tiny": Run(
        append=f"{ONE} DATASETS.TEST '()'", leaves=("output/dld_ppocr/config.yaml",), slow=True,
    ),
    f"{TRAIN}/dld_parsimonious_tiny.yaml MODEL.WEIGHTS dld://dld_tiny {TEACHER_WEIGHTS} dld://teacher_tiny": Run(
        append=f"{ONE} DATASETS.TEST '()' MODEL.PARSIMONIOUS.FIT_BATCHES 1", says="fitted backbone.fpn_output2: error",
        leaves=("output/dld_parsimonious_tiny/config.yaml",), slow=True,
    ),
    SEARCH: Run(
        append=SEARCH_ONE, leaves=("output/search_widths_ppocr/model_cut.pth",), says="the cut spotter costs", slow=True,
    ),
    f"{TRAIN}/dld_ppocr.yaml MODEL.WEIGHTS output/search_widths_ppocr/model_cut.pth {TEACHER_WEIGHTS} dld://teacher_tiny": Run(
        first=f"{SEARCH} {SEARCH_ONE}", append=f"{ONE} DATASETS.TEST '()'", leaves=("output/dld_ppocr/config.yaml",),
        says="has searched widths", slow=True,
    ),
    f"{TRAIN}/teacher_ppocr.yaml MODEL.WEIGHTS output/search_widths_ppocr/model_cut.pth SOLVER.MAX_ITER 300 "
    "OUTPUT_DIR output/searched": Run(
        first=f"{SEARCH} {SEARCH_ONE}", append=f"{ONE} DATASETS.TEST '()'", leaves=("output/searched/model_final.pth",),
        says="has searched widths", slow=True,
    ),
    THIN: Run(
        says="the spotter's own layers cost 0.600 of all", leaves=("uniform.safetensors",), slow=True,
    ),
    f"{TRAIN}/teacher_ppocr.yaml MODEL.WEIGHTS uniform.safetensors SOLVER.MAX_ITER 300 OUTPUT_DIR output/uniform": Run(
        first=THIN, append=f"{ONE} DATASETS.TEST '()'", leaves=("output/uniform/model_final.pth",), slow=True,
    ),
    "dld analyze --teacher dld_tiny --student searched=output/searched/model_final.pth --student "
    "uniform=output/uniform/model_final.pth --dataset totaltext_val --scales 0.5 0.7 1.0 --output output/widths": Run(
        first=THIN, append=f"--limit 1 --threads 1 --opts {SMALL_WORDS}", leaves=("output/widths/results.json",), slow=True,
        change=(("totaltext_val", "synthwords_val"), ("output/searched/model_final.pth", "uniform.safetensors"),
                ("output/uniform/model_final.pth", "uniform.safetensors")),
    ),
    f"{TOOLS}/analyze_model.py --teacher dld://teacher_tiny --student dld_tiny=dld://dld_tiny --dataset synthwords_val "
    "--limit 100 --scales 0.5 1.0 --budgets 0.6 --output output/first_study": Run(
        append=f"--limit 2 --opts {SMALL_WORDS}", slow=True,
        leaves=("output/first_study/results.json", "output/first_study/table.md", "output/first_study/accuracy_cost.png"),
    ),
    f"{TRAIN}/dld_R50.yaml --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://first.machine:29500 ...": Run(
        first=f"{TRAIN}/teacher_R50.yaml {ONE} DATASETS.TEST '()'", own_process=True, slow=True,
        change=(ONE_GPU, ("tcp://first.machine:29500", LOCAL),
                ("...", f"{TEACHER_WEIGHTS} output/teacher_R50/model_final.pth {TWO} DATASETS.TEST '()'")),
        peers=((("--machine-rank 0", "--machine-rank 1"),),), leaves=("output/dld_R50/model_final.pth",),
    ),
    "torchrun --nproc-per-node 8 projects/DLD/train_net.py --config-file configs/dld_R50.yaml ...": Run(
        first=f"{TRAIN}/teacher_R50.yaml {ONE} DATASETS.TEST '()'", own_process=True, slow=True,
        change=(("--nproc-per-node 8", "--standalone --nproc-per-node 2"),
                ("...", f"{TEACHER_WEIGHTS} output/teacher_R50/model_final.pth {TWO} DATASETS.TEST '()'")),
        leaves=("output/dld_R50/model_final.pth",),
    ),
    f"{TRAIN}/reader_ppocr.yaml": Run(
        append=f"{ONE} DATASETS.TEST '()' SOLVER.IMS_PER_BATCH 1 SOLVER.REFERENCE_BATCH 1", slow=True,
        leaves=("output/reader_ppocr/reader.safetensors",),
    ),
    f"{TRAIN}/reader_ppocr.yaml --eval-only MODEL.WEIGHTS output/reader_ppocr/reader.safetensors": Run(
        first=f"{TRAIN}/reader_ppocr.yaml {ONE} DATASETS.TEST '()' SOLVER.IMS_PER_BATCH 1 SOLVER.REFERENCE_BATCH 1",
        append="DATASETS.TEST \"('synthwords_val',)\" MODEL.STRIPS.TRAINING.TEST_IMAGES 2", slow=True,
        leaves=("output/reader_ppocr/strip_accuracy.json",),
    ),
    f"{TRAIN}/locator_ppocr.yaml": Run(
        append=f"{ONE} DATASETS.TEST '()'", slow=True, leaves=("output/locator_ppocr/model_final.pth",),
    ),
    "dld analyze --teacher teacher_tiny --student points=output/locator_ppocr/model_final.pth --dataset totaltext_val --sides "
    "--output output/sides": Run(
        first=f"{TRAIN}/locator_ppocr.yaml {ONE} DATASETS.TEST '()'", slow=True,
        change=(("totaltext_val", "synthwords_val --limit 1"),),
        append="--opts MODEL.DEVICE cpu DATASETS.SYNTHWORDS.SIZE [320,320]",
        leaves=("output/sides/sides.json", "output/sides/sides.md"),
    ),
    "dld analyze --parts --teacher dld://teacher_tiny --words 8 --output output/parts": Run(
        append="--size 96 128 --repeats 1 --opts MODEL.DEVICE cpu", leaves=("output/parts/parts.json", "output/parts/parts.md"),
        says="by the cost law",
    ),
    f"{TOOLS}/demo.py --input photo.jpg --output out --weights output/teacher_tiny/model_best.pth": Run(
        append=f"--opts {SMALL}", leaves=("out/photo.jpg",),
    ),
    # the weights that stand there are the shipped ones, whose configuration is another
    f"{TRAIN}/teacher_tiny.yaml --eval-only MODEL.WEIGHTS output/teacher_tiny/model_best.pth": Run(
        change=(("configs/teacher_tiny", "configs/teacher_ppocr"),), append=ONE,
        leaves=("output/teacher_ppocr/synthwords_val_results.json",), slow=True,
    ),
    f"{TOOLS}/pack_weights.py --checkpoint output/dld_tiny/model_best.pth --output dld_tiny.safetensors": Run(
        leaves=("dld_tiny.safetensors",), says="dld_tiny.safetensors: ",
    ),
    f"{TOOLS}/analyze_model.py --teacher output/teacher_tiny/model_best.pth --student \"DLD gamma 0.1=output/dld_tiny/"
    "model_best.pth\" --student \"SKD only=output/ablations/skd_only/model_best.pth\" --dataset synthwords_val --limit 1000 "
    "--scales 0.3 0.4 0.5 0.6 0.7 0.8 1.0 --budgets 0.3 0.4 0.5 --output output/study": Run(
        append=f"--limit 2 --opts {SMALL_WORDS}", leaves=ANALYZED, slow=True,
    ),
    'common="SOLVER.MAX_ITER 2000 SOLVER.LR_SCHEDULER_NAME WarmupCosineLR SOLVER.WARMUP_ITERS 50 SOLVER.BASE_LR 0.0004 '
    "DATASETS.TRAIN ('synthwords_train','totaltext_train') DATASETS.TRAIN_WEIGHTS [2,1] "
    f'DATASETS.SYNTHWORDS.REUSE 2 DATASETS.TEST () {TEACHER_WEIGHTS} output/teacher_tiny/model_final.pth"; '
    f"for run in skd_only vanilla_multiscale; do {TRAIN}/ablations/$run.yaml $common OUTPUT_DIR output/$run; done": Run(
        change=(("OUTPUT_DIR", f"{ONE} OUTPUT_DIR"),), slow=True,
        leaves=tuple(f"output/{n}/config.yaml" for n in ("skd_only", "vanilla_multiscale")),
    ),
    f"{FIT}--gamma 0.1 --images 640 --epochs 6 --output output/dld_tiny.safetensors --opts MODEL.SELECTOR.WORDS.LOSS spotting":
        Run(
            change=(("640", "12"), ("--epochs 6", "--epochs 1")), without=("output/dld_tiny.safetensors",),
            append=STEP, leaves=("output/dld_tiny.safetensors",), slow=True,
        ),
    f"{TOOLS}/pack_weights.py --checkpoint output/dld_tiny.safetensors --output output/dld_tiny_gamma03.safetensors "
    "--opts MODEL.DISTILLATION.GAMMA 0.3 MODEL.SELECTOR.MU 3.0": Run(
        without=("output/dld_tiny_gamma03.safetensors",), leaves=("output/dld_tiny_gamma03.safetensors",), slow=True,
    ),
    STUDY: Run(
        change=(("--limit 1000", "--limit 2"),), append=SMALL_WORDS, leaves=ANALYZED, slow=True,
        # times come from a study that ran alone on the machine
        first=STUDY.replace("--limit 1000", "--limit 2").replace(" --times output/times/results.json", "")
        .replace("--output output/study", "--output output/times") + f" {SMALL_WORDS}",
    ),
    f"{TOOLS}/analyze_model.py --teacher output/teacher_tiny/model_best.pth --student dld=output/dld_tiny/model_best.pth "
    "--dataset synthwords_val --limit 1000 --scales 0.5 1.0 --budgets 0.6 --output output/study "
    "--html output/study/report.html": Run(
        append=f"--limit 2 --opts {SMALL_WORDS}", leaves=(*ANALYZED, "output/study/report.html"), slow=True,
    ),
    f"{TOOLS}/calibrate_budget.py --weights output/dld_tiny/model_best.pth --dataset synthwords_train --limit 500 --budget 0.6 "
    "--output dld_tiny_budget60.safetensors": Run(
        # on tiny images the words alone would cost more than the budget
        append="--limit 3 --opts MODEL.DEVICE cpu INPUT.MIN_SIZE_TEST 320 DATASETS.SYNTHWORDS.SIZE [320,320] "
        "MODEL.SELECTOR.EXPECTED_WORDS 0.0", without=("dld_tiny_budget60.safetensors",),
        leaves=("dld_tiny_budget60.safetensors",), slow=True,
    ),
    f"{TOOLS}/demo.py --weights dld_tiny_budget60.safetensors --input photos/ --output output/read": Run(
        append=f"--opts {SMALL}", leaves=("output/read/e.jpg", "output/read/results.json"), slow=True,
    ),
    "make bench": make("bench", append="""ARGS="--only evaluation --quick --output ''\"""", says="evaluation", slow=True),
    'make bench ARGS="--only beams training"': make(
        "bench", append="""ARGS="--only beams training --quick --config none --output ''\"""", says="beams", slow=True,
    ),
    'make bench ARGS="--only inference --student output/dld_tiny/model_best.pth --update"': make(
        "bench", append='ARGS="--only inference --student output/dld_tiny/model_best.pth --update --quick --config none '
        '--output bench.json"', leaves=("bench.json",), slow=True,
    ),
    """make bench ARGS="--quick --output ''\"""": make(
        "bench", append="""ARGS="--only evaluation --quick --output ''\"""", says="evaluation", slow=True,
    ),
    "python -m dld.model_zoo.card": Run(append="--check", leaves=("dld/model_zoo/README.md",)),
    "dld compare --dataset icdar2015_val totaltext_val --dld dld_tiny teacher_tiny teacher_tiny@0.5 --tesseract-psm 11 3 "
    "--threads 2 --output output/compare": Run(
        needs="rapidocr", change=(("icdar2015_val totaltext_val", "totaltext_val"), ("--threads 2", "--threads 1")),
        append="--limit 1 --short-side 96", leaves=("output/compare/comparison.json",), slow=True,
    ),
    "dld compare --register signs signs.json signs/ --dataset signs --output output/signs": Run(
        needs="rapidocr", append="--threads 1 --short-side 96", leaves=("output/signs/comparison.md",), slow=True,
    ),
    "dld evaluate --dataset totaltext_val --predictions output/compare/words/totaltext_val_dld_tiny.json "
    "--punctuation none": Run(
        change=(
            ("--dataset totaltext_val", "--gt ch4_gt.zip --protocol icdar2015"),
            ("output/compare/words/totaltext_val_dld_tiny.json", "submission.zip"),
        ),
        says="icdar2015, punctuation none",
    ),
    "dld benchmark ...": Run(change=((" ...", " --help"),), says="--only"),
    f"{TOOLS}/benchmark.py ...": Run(change=((" ...", " --help"),), says="--only"),
    EXPORT: Run(needs="onnxruntime", append=f"--opts {SMALL}", leaves=("exported/dld_tiny/parity.json",), slow=True),
    PYTHON_LINES: Run(change=(SMALL_SPOTTER,)),
    PYTHON_PAGES: Run(change=(SMALL_SPOTTER,), says="\n2 "),
    "dld spot --input scans/ --output output/read --pretrained teacher_tiny --pages": Run(
        append=f"--opts {SMALL}", says="2 images", leaves=("output/read/report_1.jpg",),
    ),
    PYTHON_DOCUMENT: Run(change=(SMALL_SPOTTER,), leaves=("photo.hocr",)),
    "dld spot --input photos/ --output output/read --pretrained teacher_tiny --output-format txt csv hocr alto": Run(
        append=f"--opts {SMALL}",
        leaves=("output/read/e.txt", "output/read/words.csv", "output/read/e.hocr", "output/read/e.alto.xml"),
    ),
    "dld spot --input photos/ --output output/read --pretrained teacher_tiny --rotation auto": Run(
        append=f"--opts {SMALL}", leaves=("output/read/e.jpg", "output/read/results.json"),
    ),
    "pytest tests/inference/test_turned_and_long.py": pytest_files("pytest tests/inference/test_turned_and_long.py"),
    "python tests/page/measure_order.py 100": Run(change=(("100", "1"),), own_process=True, says="straight: "),
    PYTHON_ONNX: Run(needs="onnxruntime", first=f"{EXPORT} --opts {SMALL}", slow=True),
    "python tests/faults/kill_campaign.py --kills 20": Run(change=(("20", "1"),), own_process=True, slow=True),
    "python tests/faults/kill_campaign.py --distill --kills 5": Run(change=(("5", "1"),), own_process=True, slow=True),
    **{command: pytest_files(command) for command in (
        "pytest -m '' tests/faults/test_disk.py", "pytest tests/faults/test_hostile_files.py",
        "FUZZ_EXAMPLES=1000 pytest tests/faults/test_fuzz.py", "pytest tests/faults/test_hostile_weights.py",
        "pytest tests/faults/test_numerical.py",
    )},
    # so short a soak says nothing about memory and may end with 1 for it
    "python tests/faults/soak.py bfloat16 --count 500": Run(
        change=(("500", "20"),), append="|| true", own_process=True, says=" 0 values not finite", slow=True,
    ),
    "python tests/faults/process_equality.py": Run(own_process=True, slow=True),
    "python tests/faults/soak.py inference --count 2000": Run(
        change=(("2000", "20 --longest 320"),), append="|| true", own_process=True, says=" 0 values not finite", slow=True,
    ),
    "python tests/faults/determinism.py --steps 50": Run(change=(("50", "2"),), own_process=True, slow=True),
    f"{TRAIN}/teacher_tiny.yaml --num-gpus 2": Run(
        append=f"{TWO} DATASETS.TEST '()'", own_process=True, leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
    "torchrun --nproc-per-node 2 projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml": Run(
        change=(("torchrun", "torchrun --standalone"),), append=f"{TWO} DATASETS.TEST '()'", own_process=True,
        leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
    f"{TRAIN}/teacher_tiny.yaml --num-gpus 1 --num-machines 2 --machine-rank 0 --dist-url tcp://192.168.0.1:29500": Run(
        change=(("tcp://192.168.0.1:29500", LOCAL),), append=f"{TWO} DATASETS.TEST '()'", own_process=True,
        peers=((("--machine-rank 0", "--machine-rank 1"),),), leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
    "torchrun --nnodes 2 --node-rank 0 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 192.168.0.1:29500 "
    "projects/DLD/train_net.py --config-file configs/teacher_tiny.yaml": Run(
        change=(("192.168.0.1:29500", "127.0.0.1:29573"),), append=f"{TWO} DATASETS.TEST '()'", own_process=True,
        peers=((("--node-rank 0", "--node-rank 1"),),), leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
}  # fmt: skip
