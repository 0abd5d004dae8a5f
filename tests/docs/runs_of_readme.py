"""How the commands of README.md are run, and of what it hands on: install.md, scores.md and recipes of training.md."""

from __future__ import annotations

import sys

from run_settings import ONE, ONE_GPU, SMALL, SMALL_SPOTTER, TEACHER_WEIGHTS, TOOLS, TRAIN, Run, make

__all__ = ["README"]

DLD_TRAIN = "dld train --config-file configs"
SPOT = 'dld spot --input photo.jpg folder/ "more/*.png" clip.mp4 --output out --pretrained teacher_tiny'
PYTHON_SAMPLES = """from dld import TextSpotter
from dld.data.samples import sample_files

spotter = TextSpotter.from_pretrained("dld_tiny")
for path in sample_files():
    print(path.name, [word.text for word in spotter(path).words])"""
PYTHON_SPOT = """from dld import TextSpotter

spotter = TextSpotter.from_pretrained("teacher_tiny")    # device="cpu" or "cuda:1"; from_checkpoint(FILE) for your own
result = spotter("photo.jpg")
for word in result.words:
    print(word.text, word.score, word.polygon, word.char_scores)
print(result.scale, result.cost, result.gflops)    # None at full resolution that nobody chose
result.draw().save("drawn.jpg")
open("result.json", "w").write(result.to_json())"""

README = {
    "make demo": make(
        "demo", append='ARGS="--minutes 0.01 --images 1 --samples 1 --opts SOLVER.MAX_ITER 1 INPUT.MIN_SIZE_TRAIN [96] '
        'DATASETS.SYNTHWORDS.SIZE [96,128] DATALOADER.NUM_WORKERS 0"', leaves=("output/demo/table.txt",), slow=True,
    ),
    "make test": make("test", append='ARGS="tests/text/test_charset.py"', says=" passed", slow=True),
    "make PYTHON=/path/to/python ...": Run(
        change=(("/path/to/python ...", f"{sys.executable} -n test"),), own_process=True, says=f'"{sys.executable}" -m pytest',
    ),
    "make PYTHON=/path/to/python3.12 test": Run(
        change=(("/path/to/python3.12", f"{sys.executable} -n"),), own_process=True, says=f'"{sys.executable}" -m pytest',
    ),
    "make OWN_VENV=1 test": Run(append="-n", own_process=True, says='.venv/bin/python" -m pytest'),
    "make PYTHON=.venv/bin/python test": Run(
        change=((".venv/bin/python", f"{sys.executable} -n"),), own_process=True, says=f'"{sys.executable}" -m pytest',
    ),
    "python -m venv env && source env/bin/activate": Run(
        change=(("venv env", "venv --without-pip env"),), own_process=True,
        append="&& python -c 'import sys; print(sys.prefix)'", leaves=("env/bin/python",), says="/env",
    ),
    "python -m dld.utils.collect_env": Run(says="torch"),
    SPOT: Run(
        append=f"--opts {SMALL}", leaves=("out/photo.jpg", "out/c.jpg", "out/d.jpg", "out/clip.mp4", "out/results.json"),
        says="5 images",
    ),
    "dld evaluate --predictions": Run(append="submission.zip --gt ch4_gt.zip --protocol icdar2015", says="2 images"),
    "dld spot --input - --pretrained teacher_tiny < photo.jpg": Run(append=f"--opts {SMALL}", says="-: "),
    "dld spot --input dld/data/samples/images --output out --pretrained dld_tiny": Run(
        append=f"--opts {SMALL}", leaves=("out/results.json", "out/coffee.jpg"),
    ),
    PYTHON_SAMPLES: Run(says="coffee.jpg", slow=True),
    PYTHON_SPOT: Run(change=(SMALL_SPOTTER,), leaves=("drawn.jpg", "result.json")),
    "dld train --config-file configs/teacher_tiny.yaml": Run(
        append=ONE, leaves=("output/teacher_tiny/config.yaml",), slow=True,
    ),
    "dld app": Run(append="--port 17860", needs="gradio", own_process=True, stop_at="the page is at", slow=True),
    "dld app --weights output/dld_tiny/model_best.pth output/teacher_tiny/model_best.pth --port 8000": Run(
        change=(("8000", "17861"),), needs="gradio", own_process=True, stop_at="the page is at", slow=True,
    ),
    f"{DLD_TRAIN}/teacher_tiny.yaml --num-gpus 1": Run(append=ONE, leaves=("output/teacher_tiny/config.yaml",), slow=True),
    f"{DLD_TRAIN}/dld_tiny.yaml --num-gpus 1 {TEACHER_WEIGHTS} output/teacher_tiny/model_best.pth": Run(
        append=ONE, leaves=("output/dld_tiny/config.yaml",), slow=True,
    ),
    f"{DLD_TRAIN}/teacher_R50.yaml --num-gpus 8": Run(
        change=(ONE_GPU,), append=ONE, leaves=("output/teacher_R50/model_final.pth",), slow=True,
    ),
    f"{DLD_TRAIN}/dld_R50.yaml --num-gpus 8 {TEACHER_WEIGHTS} output/teacher_R50/model_best.pth": Run(
        first=f"{DLD_TRAIN}/teacher_R50.yaml {ONE} DATASETS.TEST '()'", change=(ONE_GPU, ("model_best", "model_final")),
        append=ONE, leaves=("output/dld_R50/model_final.pth",), slow=True,
    ),
    "dld check --json signs.json --images signs/": Run(says="no problems found"),
    f"{DLD_TRAIN}/teacher_ppocr.yaml MODEL.WEIGHTS dld://teacher_tiny OUTPUT_DIR output/signs DATASETS.REGISTER "
    "\"[('signs', 'signs.json', 'signs/'), ('signs_val', 'signs_val.json', 'signs_val/')]\" DATASETS.TRAIN "
    "\"('signs', 'synthwords_train')\" DATASETS.TRAIN_WEIGHTS \"[1, 3]\" DATASETS.TEST \"('signs_val',)\"": Run(
        first="cp signs.json signs_val.json && cp -r signs signs_val", append=ONE,
        leaves=("output/signs/signs_val_results.json", "output/signs/model_final.pth"), slow=True,
    ),
    """python -c "print(bytes(range(32, 127)).decode() + 'ÄÖÜäöüß')" > german.txt""": Run(
        own_process=True, without=("german.txt",), leaves=("german.txt",),
        append="""&& python -c "print(len(open('german.txt', encoding='utf-8').read()))\"""", says="103\n",
    ),
    "printf '%s\\n' Straße Öffnungszeiten Bäckerei geöffnet für Tür > words.txt": Run(
        own_process=True, without=("words.txt",), append="&& wc -l words.txt", says="6 words.txt",
    ),
    f"{TRAIN}/teacher_ppocr.yaml MODEL.WEIGHTS dld://teacher_tiny MODEL.RECOGNITION.CHARSET_FILE german.txt "
    "MODEL.CHARSET_TRANSFER True DATASETS.SYNTHWORDS.OPTIONS \"[['words_file', 'words.txt']]\" SOLVER.MAX_ITER 4000 "
    "OUTPUT_DIR output/german": Run(
        append=ONE, without=("output/german/model_best.pth",), leaves=("output/german/model_best.pth",),
        says="charset transfer: 95 of 102 characters keep their weights", slow=True,
    ),
    "dld spot --input photo.jpg --output out --weights output/german/model_best.pth": Run(
        append=f"--opts {SMALL}", leaves=("out/photo.jpg", "out/results.json"),
    ),
    "dld label --input photos/ --pretrained teacher_tiny --output labels.json": Run(
        append=f"--opts {SMALL}", without=("labels.json",), leaves=("labels.json",), says="2 images, 2 words",
    ),
    "dld check --json labels.json --images photos/": Run(says="no problems found"),
    f"{TRAIN}/dld_ppocr.yaml MODEL.WEIGHTS dld://dld_tiny {TEACHER_WEIGHTS} dld://teacher_tiny "
    "DATASETS.REGISTER \"[('photos', 'labels.json', 'photos/')]\""
    " DATASETS.TRAIN \"('photos', 'synthwords_train')\" DATASETS.TRAIN_WEIGHTS \"[1, 1]\" OUTPUT_DIR output/dld_photos": Run(
        append=ONE, leaves=("output/dld_photos/model_best.pth",), says="photos: 1 images, 1 words", slow=True,
    ),
    f"{TOOLS}/evaluate_results.py --gt ch4_gt.zip --predictions submission.zip --protocol icdar2015 --output scores.json": Run(
        leaves=("scores.json",), says="2 images",
    ),
    f"{TOOLS}/evaluate_results.py --dataset icdar2015_test --predictions output/teacher_tiny/icdar2015_test_results.json "
    "--lexicon strong --lexicon-dir lexicons/icdar2015 --write-submission submission.zip": Run(
        without=("submission.zip",), leaves=("submission.zip",),
    ),
}  # fmt: skip
