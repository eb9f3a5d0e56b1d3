"""The page in a real browser: it renders, runs no foreign script, fits a phone and the dark."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.audit_page import page, tags
from tests.support.browser import CHROMIUM, chromium, stored

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
# Asks the document about itself once it is laid out; stands in for its own script only here.
PROBE = """
<script>
addEventListener("load", function () {
  var players = document.querySelectorAll("audio"), known = 0;
  parent.postMessage(document.documentElement.scrollWidth + " of " + innerWidth, "*");
  players.forEach(function (player) {
    player.addEventListener("loadedmetadata", function () {
      known += player.duration > 2 ? 1 : 0;
      document.body.dataset.players = known + " of " + players.length;
    });
    player.load();
  });
});
</script>
"""


def probed(html: str) -> str:
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    return free.replace("</body>", PROBE + "</body>")


def pixels(path: Path) -> np.ndarray:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    return np.asarray(image.open(path).convert("RGB"))


def test_text_from_the_corpus_runs_no_script(tmp_path: Path) -> None:
    rendered = chromium(tmp_path, "--dump-dom", stored(tmp_path, page()))
    assert "caught" in rendered
    seen = tags(rendered)
    assert [tag for tag, _ in seen].count("script") == 1
    assert not [attrs for _, attrs in seen if "onload" in attrs]


def test_every_player_knows_the_length_of_its_sound(tmp_path: Path) -> None:
    address = stored(tmp_path, probed(page()))
    rendered = chromium(tmp_path, "--virtual-time-budget=8000", "--dump-dom", address)
    assert 'data-players="16 of 16"' in rendered


def test_the_page_fits_a_phone_without_scrolling_sideways(tmp_path: Path) -> None:
    # Framed, because a headless window is never narrower than 500 pixels.
    inner = stored(tmp_path, probed(page()))
    outer = tmp_path / "phone.html"
    outer.write_text(
        "<body><script>onmessage = (told) => { document.body.dataset.width = told.data }</script>"
        f'<iframe src="{inner}" width="390" height="800" style="border:0"></iframe>'
    )
    rendered = chromium(tmp_path, "--virtual-time-budget=8000", "--dump-dom", outer.as_uri())
    assert 'data-width="390 of 390"' in rendered


@pytest.mark.parametrize(("scheme", "is_dark"), [("0", True), ("1", False)])
def test_the_page_follows_the_colour_scheme(tmp_path: Path, scheme: str, is_dark: bool) -> None:
    shot = tmp_path / "page.png"
    chromium(
        tmp_path,
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={shot}",
        "--window-size=1280,900",
        stored(tmp_path, page()),
    )
    seen = pixels(shot)
    assert (np.median(seen) < 80) == is_dark
    # Something is drawn on it: an empty page has one colour.
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 50
