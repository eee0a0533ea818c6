"""The page, in a headless Chromium if there is one."""

import shutil
import subprocess

import fake_model
import pytest

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync""".split()

# Fills the form in, once the prompts are listed, as a person would.
DRIVER = """
addEventListener("load", () => {
  const wait = setInterval(() => {
    if (!document.querySelector("#prompts input")) return;
    clearInterval(wait);
    document.getElementById("text").value = "<b>robin</b>";
    document.getElementById("go").click();
  }, 20);
});
"""


@pytest.mark.slow
def test_the_page_shows_each_prompts_answer_and_probabilities(tmp_path, monkeypatch):
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("there is no chromium")
    page = tmp_path / "page"
    shutil.copytree(fake_model.server.PAGE, page)
    with (page / "page.js").open("a") as script:
        script.write(DRIVER)
    monkeypatch.setattr(fake_model.server, "PAGE", page)
    with fake_model.serving(longest_wait=0.001) as (host, port):
        shown = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}",
             "--virtual-time-budget=5000", "--dump-dom", f"http://{host}:{port}/"],
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout  # fmt: skip
    assert shown.count("<article>") == 2
    assert "kind: &lt;b&gt;robin&lt;/b&gt;" in shown, "an answer is never HTML"
    assert shown.count('class="label') == 2 and shown.count('class="bar"') == 2
    assert 'class="wrong"' not in shown
