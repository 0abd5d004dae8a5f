"""How each documented command is run in a test: as it stands, with the smallest changes that keep its meaning; or why not.

A command is found here by its exact text, as :mod:`markdown_commands` gives it. Whoever adds or changes one in a document adds
or changes its entry (commands of README.md: :mod:`runs_of_readme`, of the project page and its docs: :mod:`runs_of_project`);
:mod:`test_documented_commands` names those that are missing, and entries of commands that are gone.
"""

from __future__ import annotations

from run_settings import SMALL, TOOLS, Run, make
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

RUNS = {**README, **PROJECT, **DATASETS, **CONTRIBUTING}
