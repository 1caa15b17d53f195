"""The documentation site is built without a warning, has every page, and loads nothing from servers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\s>\"']+")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site):
    guides = {path.stem for path in (ROOT / "docs").glob("*.md")}
    reference = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == {*guides, "index", "contributing", "changelog", "404"}
    assert {path.stem for path in (site / "api").glob("*.html")} == reference
    assert (site / "faces.jpg").is_file()


def test_the_reference_documents_what_is_public(site):
    page = (site / "api" / "predictor.html").read_text(encoding="utf-8")
    for name in ("load", "Predictor.invert", "Predictor.edit", "Predictor.translate", "Face.paste_back"):
        assert f'id="psp.inference.predictor.{name}"' in page
    assert "Steps of W+ optimisation that start from the encoder" in page  # the description of an argument


def test_links_of_the_readme_lead_into_the_site(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="results.html"' in page
    assert 'href="docs/' not in page


def test_no_page_asks_a_server(site):
    pages = sorted(site.rglob("*.html"))
    tags_of = {str(page.relative_to(site)): LOADED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: tags for name, tags in tags_of.items() if [tag for tag in tags if "canonical" not in tag]} == {}
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"url\([\"']?https?://|@import", sheet.read_text(encoding="utf-8"))
