"""Gradio, Chromium, and a page that is served by a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parents[3]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
START_SECONDS = 240  # machines may be busy


@pytest.fixture(scope="session")
def gradio():
    from psp.web.server import require_gradio
    from stylegan2.runtime.errors import UserError

    try:
        require_gradio()
    except UserError as error:
        pytest.skip(str(error))
    import gradio

    return gradio


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "astronaut.jpg"
    Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def address(gradio, tmp_path_factory):
    """The page, served until the tests of a module are done, by a process whose proxy leads nowhere."""
    folder = tmp_path_factory.mktemp("server")
    log, pictures = folder / "log.txt", folder / "pictures"
    pictures.mkdir()
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    environment["TMPDIR"] = str(pictures)
    command = [sys.executable, "-m", "psp", "web", "--port", "0", "--device", "cpu", "--upload_megabytes", "2"]
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield wait_for_address(server, log)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) in (0, 130), log.read_text()
        assert list(pictures.glob("psp-web-*")) == []  # nobody's photograph is left behind


def wait_for_address(server, log):
    """Return where the page is, once it says so."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"the page is at (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def browser(gradio):
    if BROWSER is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    """The page in a fresh browser, which must ask nobody else for anything and raise no error."""
    context = browser.new_context(viewport={"width": 1320, "height": 1000}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(90_000)
    requested, errors = [], []
    tab.on("request", lambda request: requested.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    tab.wait_for_selector("#photograph input[type=file]", state="attached")
    tab.wait_for_selector("#examples img")
    yield tab
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []
    context.close()
