"""How each documented command is run in a test: as it stands, with the smallest changes that keep its meaning; or why not.

A command is found here by its exact text, as :mod:`markdown_commands` gives it. Whoever adds or changes one in a document adds
or changes its entry (commands of README.md: :mod:`runs_of_readme`, of the project page and its docs: :mod:`runs_of_project`);
:mod:`test_documented_commands` names those that are missing, and entries of commands that are gone.
"""

from __future__ import annotations

from run_settings import ONE, SMALL, TOOLS, Run, make
from runs_of_project import PROJECT
from runs_of_readme import README

__all__ = ["NOT_RUN", "RUNS"]

NOT_RUN = {
    "pip install torch torchvision": "changes the environment of the tests; network",
    "pip install setuptools wheel ninja": "changes the environment of the tests; network",
    "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'": "needs a compiler; network",
    "pip install -e .": "changes the environment of the tests; network",
    "pip uninstall -y opencv-python-headless && pip install --force-reinstall --no-deps opencv-python":
        "changes the environment of the tests; network",
    'pip install -e ".[app]"': "changes the environment of the tests; network",
    'pip install -e ".[readers]"': "changes the environment of the tests; network",
    'pip install -e ".[serve]"': "changes the environment of the tests; network",
    "apt install tesseract-ocr": "changes the system; network",
    f"{TOOLS}/pack_weights.py --checkpoint output/dld_tiny.safetensors --output dld/model_zoo/dld_tiny.safetensors "
    "--name dld_tiny --scores projects/DLD/results/synthwords_tiny.json projects/DLD/results/totaltext_tiny.json":
        "writes over the weights of the checkout itself; tests/cli/test_pack.py does it in a copy",
    'pip install "dld[heic]"': "changes the environment of the tests; network",
    'pip install "dld[pdf]"': "changes the environment of the tests; network",
    'pip install "dld[export]"': "changes the environment of the tests; network",
    'pip install "dld[ray]"': "changes the environment of the tests; network",
}  # fmt: skip

LABEL = "dld label --input photos/ --pretrained teacher_tiny --format cvat --output annotations.xml"
DATASETS = {
    f"{TOOLS}/prepare_dataset.py totaltext_train --root FOLDER_WITH_THE_UNPACKED_FILES": Run(
        without=("data/totaltext_train", "data/totaltext_val"),
        leaves=("data/totaltext_train/annotations.json", "data/totaltext_val/annotations.json"),
    ),
    f"{TOOLS}/check_dataset.py totaltext_train": Run(says="no problems found"),
    LABEL: Run(append=f"--opts {SMALL}", leaves=("annotations.xml",), says="2 images, 2 words"),
    "dld prepare my_signs --images photos/ --gt annotations.xml": Run(
        first=f"{LABEL} --opts {SMALL}", leaves=("data/my_signs/annotations.json",), says="format: cvat",
    ),
}  # fmt: skip

CONTRIBUTING = {
    "make lint": make("lint", append="-n", says="-m ruff check ."),
    "make test ARGS='tests/utils -x'": make("test", append="-n", says="tests/utils -x"),
    "python -m dld.cli.document_tables projects/DLD/README.md projects/DLD/docs/study.md projects/DLD/docs/speed.md": Run(
        append="--check", says="not up to date: nothing",
    ),
}  # fmt: skip

PREPARED = f"{LABEL} --opts {SMALL} && dld prepare my_signs --images photos/ --gt annotations.xml"
MY_SIGNS = ("datasets/my_signs", "data/my_signs")
PYTHON_SERVICE = """from dld import TextSpotter

spotter = TextSpotter.from_pretrained("dld_tiny", device="cpu")


def answer(body: bytes) -> dict:
    return spotter(body, budget=0.6).to_dict()


print(answer(open("photo.jpg", "rb").read())["words"])"""
PYTHON_PHONE = """from dld import TextSpotter

print(TextSpotter.from_onnx("exported/dld_tiny")("photo.jpg").text)"""
EXPORT_SHIPPED = "dld export --pretrained dld_tiny --output exported/dld_tiny --images photos/"
QUICKSTART = {
    "dld spot --input photos/ --output out --pretrained teacher_tiny": Run(
        append=f"--opts {SMALL}", leaves=("out/results.json",), says="2 images",
    ),
    "dld check --json datasets/my_signs/annotations.json --images datasets/my_signs/images/": Run(
        first=PREPARED, change=(MY_SIGNS,), says="no problems found",
    ),
    "dld train --config-file configs/teacher_ppocr.yaml MODEL.WEIGHTS dld://teacher_tiny DATASETS.REGISTER "
    "\"[('my_signs', 'datasets/my_signs/annotations.json', 'datasets/my_signs/images/')]\" "
    "DATASETS.TRAIN \"('my_signs', 'synthwords_train')\" DATASETS.TRAIN_WEIGHTS \"[1, 3]\" OUTPUT_DIR output/my_signs": Run(
        first=PREPARED, change=(MY_SIGNS,), append=ONE, leaves=("output/my_signs/model_best.pth",), slow=True,
    ),
    "dld spot --input photos/ --output out --weights output/my_signs/model_best.pth": Run(
        change=(("my_signs", "german"),), append=f"--opts {SMALL}", leaves=("out/results.json",), says="2 images",
    ),
    "dld analyze --teacher dld://teacher_tiny --student dld_tiny=dld://dld_tiny --dataset dld_samples --scales 0.5 1.0 "
    "--output output/first_study --html output/first_study/report.html": Run(
        append=f"--limit 2 --opts {SMALL}", leaves=("output/first_study/report.html",), slow=True,
    ),
    PYTHON_SERVICE: Run(says="HOTEL"),
    EXPORT_SHIPPED: Run(
        needs="onnxruntime", append=f"--opts {SMALL}", leaves=("exported/dld_tiny/parity.json",), slow=True,
    ),
    PYTHON_PHONE: Run(needs="onnxruntime", first=f"{EXPORT_SHIPPED} --opts {SMALL}", says="HOTEL", slow=True),
}  # fmt: skip

SPOT_RAY = "dld spot --engine ray --input photos/ --output parquet --pretrained dld_tiny --workers 2"
PYTHON_PARQUET = """import pyarrow.parquet as pq

for row in pq.read_table("parquet").to_pylist():
    print(row["path"], row["error"] or [word["text"] for word in row["words"]])"""
RAY_RUN = {"needs": "ray", "append": f"--opts {SMALL}", "own_process": True, "slow": True}
RAY = {
    SPOT_RAY: Run(leaves=("parquet/part-000000.parquet",), says="2 pictures (2 in this run", **RAY_RUN),
    "dld spot --engine ray --address auto --input list.txt --output s3://bucket/parquet --pretrained dld_tiny": Run(
        # neither a cluster nor a bucket here
        change=(("--address auto", "--workers 1"), ("s3://bucket/", "")), says="2 pictures (2 in this run",
        leaves=("parquet/part-000000.parquet",), **RAY_RUN,
    ),
    "dld spot --engine ray --input photos/ --output two_processes --pretrained dld_tiny --workers 2 --threads 1": Run(
        leaves=("two_processes/part-000000.parquet",), says="2 pictures (2 in this run", **RAY_RUN,
    ),
    "dld spot --engine ray --input photos/ --output two_threads --pretrained dld_tiny --workers 1 --threads 2": Run(
        leaves=("two_threads/part-000000.parquet",), says="2 pictures (2 in this run", **RAY_RUN,
    ),
    PYTHON_PARQUET: Run(needs="ray", first=f"{SPOT_RAY} --opts {SMALL}", says="photos/e.jpg", slow=True),
}  # fmt: skip

RUNS = {**QUICKSTART, **RAY, **README, **PROJECT, **DATASETS, **CONTRIBUTING}
