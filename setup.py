"""Metadata of the package. Nothing here imports torch or detectron2: pip runs this file before either is installed.

The ranges below serve every platform; the exact versions that `make` installs are in requirements/. detectron2 is no
requirement because the registry has no official build of it: `make` installs a pinned one, and projects/DLD/docs/install.md
says how to build the upstream one beside a CUDA build of torch.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    text = (ROOT / "dld" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


def read_pins(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


RUNTIME = [
    "torch>=2.6",
    "torchvision>=0.21",
    "numpy>=1.26",
    "opencv-python-headless>=4.8",
    "fonttools>=4.50",
    "pillow>=10.1",
    "shapely>=2.0",
    "editdistance>=0.8",
    "rapidfuzz>=3.6",
    "safetensors>=0.4",
    "tensorboard>=2.15",
    "tqdm>=4.66",
]
# What detectron2 imports: it is installed without its own requirements, which forbid numpy 2 for no reason of its code.
DETECTRON2_NEEDS = [
    "cloudpickle>=2.2",
    "fvcore>=0.1.5.post20221221",
    "iopath>=0.1.9",
    "matplotlib>=3.8",
    "omegaconf>=2.1,<2.4",
    "packaging>=23",
    "pycocotools>=2.0.8",
    "pyyaml>=6.0",
    "tabulate>=0.9",
    "termcolor>=2.0",
    "yacs>=0.1.8",
]
# What synthwords is drawn from beside the fonts: photographs, and 82,000 English words by frequency. They are data too.
SYNTHWORDS = ["scikit-image>=0.22", "symspellpy==6.10.1"]
MATLAB = ["scipy>=1.11"]  # only the .mat files of SynthText and Total-Text are read with it
EXPORT = ["onnx>=1.16", "onnxruntime>=1.18"]
APP = ["gradio>=6.0"]  # asks for an older Pillow than the lock has, so it is not in it; it runs with either
PDF = ["pypdfium2>=4.30", "reportlab>=4.0"]  # pages of PDF in, searchable PDF out
# a server, its page without files from elsewhere, forms, counters
SERVE = ["fastapi>=0.115", "fastapi-offline>=1.7", "uvicorn>=0.30", "python-multipart>=0.0.18", "prometheus-client>=0.20"]
HEIC = ["pillow-heif>=0.16"]
RAY = ["ray>=2.40", "pyarrow>=16"]  # `dld spot --engine ray`
BROWSER = ["playwright>=1.50"]
READERS = ["rapidocr>=3.10", "onnxruntime>=1.18", "pytesseract>=0.3.13"]  # what `dld compare` compares with
TEST = ["hypothesis>=6.100", "mypy>=1.11", "pytest>=8.0", "pytest-cov>=5.0", "pytest-xdist>=3.5", "ruff>=0.9"]

setup(
    name="dld",
    version=read_version(),
    description="Text spotting with dynamic low-resolution distillation, an extension of detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11",
    # configs/ goes into the package as dld/configs, so that `dld train` finds it without a checkout.
    packages=[*find_packages(include=["dld", "dld.*"]), "dld.configs"],
    package_dir={"dld.configs": "configs"},
    package_data={
        "dld": [
            "py.typed",
            *(f"**/*.{kind}" for kind in ("txt", "json", "yaml", "safetensors", "html", "css", "js", "jpg", "md")),
        ],
        "dld.configs": ["**/*.yaml"],
    },
    # The fonts are data: the pictures of a seed are the same everywhere only if their versions are.
    install_requires=RUNTIME + DETECTRON2_NEEDS + SYNTHWORDS + read_pins("fonts.txt"),
    extras_require={
        "app": APP,
        "browser": BROWSER,
        "export": EXPORT,
        "heic": HEIC,
        "matlab": MATLAB,
        "pdf": PDF,
        "ray": RAY,
        "readers": READERS,
        "serve": SERVE,
        "test": TEST + MATLAB + EXPORT + PDF + HEIC + SERVE,
    },
    entry_points={"console_scripts": ["dld = dld.cli.main:main"]},
)
