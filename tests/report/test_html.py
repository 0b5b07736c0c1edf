"""The page: complete, self-contained, and alive in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lightning_diag.findings import Diagnosis
from lightning_diag.report import draw_figures, render_html
from tests.report import runs

VOID = {"meta", "br", "img", "link", "hr"}


class Checker(HTMLParser):
    """Collects tags, addresses and identifiers, and checks that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.addresses, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in {"href", "src", "xlink:href", "action"}]
        self.ids += [value for key, value in attrs if key == "id"]
        assert not [key for key, _ in attrs if key.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    history, diagnosis = runs.resumed(), runs.resumed_diagnosis()
    return render_html(history, diagnosis, draw_figures(history, diagnosis))


def _checked(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_it_is_one_well_formed_page_that_asks_the_network_for_nothing(page):
    found = _checked(page)
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(found.ids) == len(set(found.ids))
    assert found.tags.count("svg") == 4


def test_it_says_what_the_markdown_says(page):
    for text in (
        "21/29 = 72 %",
        "drop-after-resume" if "drop-after-resume" in page else "LD503",
        "That validation got worse over all",
    ):
        assert text in page
    assert "<code>trainer.fit(..., ckpt_path=...)</code>" in page


def test_names_cannot_leave_their_place():
    found = _checked(
        render_html(runs.hostile(), runs.hostile_diagnosis(), draw_figures(runs.hostile(), Diagnosis(verdict="")))
    )
    assert found.tags.count("script") == 1
    assert found.tags.count("style") == 1 + 2 * 4  # of the page, and in each figure matplotlib's and the dark one


def test_png_figures_are_embedded():
    assert 'src="data:image/png;base64,' in render_html(
        runs.healthy(), Diagnosis(verdict="x"), {"curves": b"\x89PNG\r\n"}
    )


def _chromium(*arguments):
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    return subprocess.run(
        [program, *flags, *map(str, arguments)], check=True, capture_output=True, timeout=120, text=True
    ).stdout


@pytest.mark.slow
def test_a_browser_shows_sorts_and_prints_it(page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    _chromium("--window-size=1100,3000", f"--screenshot={tmp_path / 'page.png'}", file.as_uri())
    _chromium("--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", file.as_uri())
    assert _colours(tmp_path / "page.png") > 100
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    click = "<script>document.querySelectorAll('#classes th button')[2].click()</script></body>"
    file.write_text(re.sub(r"<meta http-equiv.*?>", "", page).replace("</body>", click), encoding="utf-8")
    rows = _chromium("--dump-dom", file.as_uri()).split('id="classes"')[1].split("<tbody>")[1].split("</tbody>")[0]
    assert re.findall(r"<bdi>(\w+)</bdi></td><td class=\"n\">\d", rows) == [
        "doctor",
        "pillow",
        "i_need_to_move",
        "my_mouth_is_dry",
    ]


@pytest.mark.slow
def test_the_policy_lets_only_our_script_run(tmp_path):
    text = render_html(runs.healthy(), Diagnosis(verdict="x"), {}).replace(
        "</body>", "<script>document.title='broken in'</script></body>"
    )
    (tmp_path / "p.html").write_text(text, encoding="utf-8")
    assert "<title>broken in" not in _chromium("--dump-dom", (tmp_path / "p.html").as_uri())


def _colours(path):
    from matplotlib.image import imread

    image = (imread(path)[::2, ::2, :3] * 255).astype("uint32")
    return len(set((image[..., 0] << 16 | image[..., 1] << 8 | image[..., 2]).ravel().tolist()))
