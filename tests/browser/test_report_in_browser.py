"""The report of a small study, as a browser shows it."""

import pytest
import torch

from dld.cli import analyze

OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
COLUMN = "(table, k) => [...table.tBodies[0].rows].map(row => row.cells[k].innerText.trim())"


@pytest.fixture
def report(chromium, tiny_weights, register_records, make_record, tmp_path):
    """Address of a page of three images, one of whose words tries to be html."""
    pairs = [("stone", "<script>alert(1)</script>"), ("Blue", "42"), ("exit", "Cafe")]
    records = [make_record(words, image_id=f"drawn_{i}", seed=i) for i, words in enumerate(pairs)]
    threads = torch.get_num_threads()
    path = tmp_path / "report.html"
    assert analyze.main([
        "--teacher", tiny_weights["teacher"], "--student", f"dld={tiny_weights['student']}", "--dataset",
        register_records("browser_words", records), "--scales", "0.5", "--student-scales", "0.4", "0.6", "--threads", "1",
        "--examples", "0", "--output", str(tmp_path / "study"), "--html", str(path),
    ]) == 0  # fmt: skip
    torch.set_num_threads(threads)
    return path.as_uri()


def test_the_report_in_wide_and_narrow_windows(report, open_page):
    for width, scheme in ((1400, "light"), (390, "dark")):
        with open_page(report, width, scheme=scheme) as page:
            assert page.evaluate(OVERFLOW) <= 0
            assert page.locator("article").count() == 3 and page.locator(".photo").count() == 6
            # all pictures are drawn, those that are used a second time too
            boxes = page.evaluate("[...document.querySelectorAll('.photo image, .photo use')].map(e => e.getBBox().width)")
            assert boxes == [640] * 6
            panels = [box["x"] for box in map(lambda p: p.bounding_box(), page.locator("article >> nth=0 >> figure").all())]
            assert len(set(panels)) == (2 if width == 1400 else 1), "side by side where there is room"

            # the table of images sorts by a click, the other way round by another
            table = page.locator("#table-images")
            before = table.evaluate(COLUMN, 0)
            table.locator("thead button").nth(0).click()
            assert table.evaluate(COLUMN, 0) == sorted(before) == ["drawn_0", "drawn_1", "drawn_2"]
            table.locator("thead button").nth(0).click()
            assert table.evaluate(COLUMN, 0) == sorted(before, reverse=True)
            table.locator("thead button").nth(2).click()
            mistakes = list(map(int, table.evaluate(COLUMN, 2)))
            assert mistakes == sorted(mistakes, reverse=True)
            assert table.locator("th[aria-sort=descending]").count() == 1

            # a link of the list leads to its image, one of the chart to its row
            table.locator("a", has_text="drawn_1").click()
            page.wait_for_function("Math.abs(document.querySelector('#image-1').getBoundingClientRect().top) < 200")
            assert "drawn_1" in page.locator("article:target h3").inner_text()
            page.locator(".task[data-task=e2e] .point.chosen").click()
            assert page.locator("tr:target th").inner_text().startswith("dld")
            assert "of the teacher's" in page.locator("#readout").inner_text()

            # another task, no labels, a model hidden, a picture enlarged and closed by the keyboard
            page.locator("input[name=task][value=detection]").check()
            visible = "[...document.querySelectorAll('.task')].filter(e => e.offsetWidth).map(e => e.dataset.task)"
            assert page.evaluate(visible) == ["detection"]
            page.locator("input[data-model=dld]").uncheck()
            assert page.locator(".series[hidden]").count() == 3
            page.locator("input[name=labels][value=none]").check()
            assert not page.locator(".photo .label").first.is_visible()
            page.locator(".enlarge").first.click()
            assert page.locator("dialog .photo").is_visible() and page.evaluate(OVERFLOW) <= 0
            page.keyboard.press("Escape")
            assert not page.locator("dialog .photo").is_visible()

            assert page.problems == [], page.problems
            assert [url for url in page.requests if not url.startswith("data:")] == [report]
