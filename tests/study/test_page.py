"""Facts about the page: it is whole in itself, no text becomes html, every link has a target."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from dld.study.page import Report, render_page
from dld.study.page_writer import check_report_path, write_report

EMPTY = {"meta", "link", "br", "input", "rect", "line", "polyline", "circle", "path", "polygon", "image", "use"}


class Elements(HTMLParser):
    """Start tags with their attributes, text by innermost tag, and whether tags close in the order in which they open."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts, self.open, self.crossed = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in EMPTY:
            return
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


@pytest.fixture
def page(made_up_report):
    return render_page(made_up_report)


def test_no_text_becomes_an_element(page):
    elements = Elements(page)
    assert not elements.crossed and not elements.open
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 1 and not {"img", "iframe", "object", "embed"} & set(tags)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    told = "".join(text for tag, text in elements.texts if tag not in ("script", "style"))
    assert '"><script>alert(1)</script>' in told and "\x00" not in page and "&amp;" in told
    page.encode("utf-8")


def test_nothing_is_loaded_from_elsewhere_and_the_page_forbids_it(page):
    elements = Elements(page)
    addresses = [v for _, a in elements.found for k, v in a.items() if k in ("src", "href", "action", "srcset", "poster")]
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert "url(" not in page and "@import" not in page
    policy = next(a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    (script,) = (text for tag, text in elements.texts if tag == "script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "fetch" not in script and "XMLHttpRequest" not in script


def test_every_link_has_a_target_and_every_id_is_one(page):
    elements = Elements(page)
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for _, a in elements.found if a.get("href", "").startswith("#")}
    assert links <= set(ids) and {"gallery", "row-0", "image-2", "picture-2"} <= links


def test_a_picture_is_in_the_page_once(page, made_up_report):
    assert page.count("data:image/jpeg") == len(made_up_report.examples)
    assert page.count("<use ") == len(made_up_report.examples)  # two panels each


def test_pictures_have_a_text_and_mistakes_a_sign(page):
    elements = Elements(page)
    photos = [a for tag, a in elements.found if tag == "svg" and a.get("class") == "photo"]
    assert len(photos) == 4 and all("1 right, 1 misread, 1 missed" in a["aria-label"] for a in photos)
    assert {"\u2212", "≠", "✓"} <= {text.strip() for tag, text in elements.texts if tag == "span"}


def test_the_table_sorts_by_exact_values(page, study_rows):
    values = re.findall(r'<td data-value="([^"]*)">' + re.escape(f"{study_rows[2]['total_gflops']:.2f}"), page)
    assert values and float(values[0]) == study_rows[2]["total_gflops"]


def test_a_study_of_a_teacher_alone_without_gallery(study_rows):
    page = render_page(Report(study_rows[:2], {}, "command"))
    assert "No student chooses its scale" in page and "No images were asked for" in page
    assert not Elements(page).crossed


def test_where_the_page_is_written(tmp_path, made_up_report):
    path = tmp_path / "deep" / "report.html"
    write_report(path, made_up_report)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(ValueError, match="is a folder: name a file"):
        check_report_path(tmp_path, 4)
    with pytest.raises(ValueError, match="--html-images must be at least 0, got -1"):
        check_report_path(path, -1)
