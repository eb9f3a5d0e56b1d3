"""Where the files of the tests are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SPEECH = TESTS / "speech"
GOLDEN = TESTS / "golden"
