"""The page `dld app`, served by the command and used in a browser."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

import dld.modeling  # noqa: F401  only registration

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # gradio alone takes ten seconds to start


@pytest.fixture
def served(chromium, tiny_weights, tmp_path):
    """Address of the page, and its process."""
    pytest.importorskip("gradio", reason='the page needs gradio: pip install "dld[app]"')
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "dld.cli.main", "app", "--weights", tiny_weights["student"], "--device", "cpu"]
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        address = None
        for _ in range(1500):
            address = re.search(r"the page is at (http://127\.0\.0\.1:\d+/)", log.read_text())
            if address or process.poll() is not None:
                break
            time.sleep(0.2)
        assert address, log.read_text()
        yield address.group(1), process
    finally:
        process.kill()
        process.wait()


def told(page):
    """Figures of the page by name."""
    names, values = (page.locator(f"#told {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def test_a_picture_a_budget_and_a_mistake(served, open_page, make_record, tmp_path):
    address, process = served
    photo, note = tmp_path / "photo.png", tmp_path / "note.png"
    cv2.imwrite(str(photo), make_record()["image"])
    note.write_text("this is no picture")
    with open_page(address, 1400) as page:
        upload = page.locator("#picture input[type=file]")
        upload.wait_for(state="attached", timeout=60_000)
        upload.set_input_files(photo)
        page.locator("#words table").wait_for(timeout=60_000)
        first = told(page)
        assert first["Scale"] in ("0.4", "0.6", "0.8") and first["Of the teacher's cost"].endswith("%")
        assert page.locator("#words td:first-child").count() == int(first["Words"]) > 0
        assert page.locator("#drawn img").evaluate("image => image.naturalWidth") == 128

        slider = page.locator("#budget input[type=range]")
        slider.focus()
        page.keyboard.press("Home")  # 0.05: only the smallest scale, with a note
        page.locator("#told", has_text="cannot be read for").wait_for(timeout=60_000)
        assert told(page)["Scale"] == "0.4"
        assert page.locator("#choice input:checked").get_attribute("value") == "budget"
        page.locator("#scale input[type=range]").focus()
        page.keyboard.press("End")
        page.locator("#told dd", has_text=re.compile("^1$")).first.wait_for(timeout=60_000)
        assert told(page)["Scale"] == "1" and told(page)["Of the teacher's cost"] == "100%"

        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        page.locator("#picture button[aria-label='Remove Image']").click()
        page.locator("#told", has_text="The words appear here").wait_for(timeout=60_000)
        upload.set_input_files(note)
        page.locator("#told [role=alert]").wait_for(timeout=60_000)
        assert "this file" in page.locator("#told").inner_text() and not page.locator("#words table").count()

        assert page.problems == [], page.problems
        elsewhere = [url for url in page.requests if not url.startswith((address, "data:", "blob:"))]
        assert elsewhere == []
    assert list(tmp_path.glob("dld_app_*")), "what was uploaded lies in a folder of its own"
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert not list(tmp_path.glob("dld_app_*"))
