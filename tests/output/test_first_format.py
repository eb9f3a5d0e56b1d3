"""An output of format 1, made by xytok 0.1.0 before the identity stated the shape of its codes.

Its codec is `fake`, which has no weights that could change. It is read, verified, audited, shown
and described as ever; only to resume it is refused.
"""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import fsspec
import numpy as np
import pytest

import xytok
from jobs import cli
from tests.support.audit_run import audit_run
from tests.support.places import ROOT, SPEECH

OUTPUT = ROOT / "tests/data/output_format_1"
SHARD = "memory://speech/IT-B000000.tar"


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """A copy of the output, with the shard that it was made from where it was."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/speech/IT-B000000.tar", (SPEECH / "Emilia/IT/IT-B000000.tar").read_bytes())
    # The shard's etag in the manifest is the time at which it was stored.
    memory.store["/speech/IT-B000000.tar"].created = datetime.fromisoformat(
        "2026-11-28 06:08:48.211544+00:00"
    )
    yield Path(shutil.copytree(OUTPUT, tmp_path / "out"))
    memory.rm("/speech", recursive=True)


def test_it_is_read(output: Path) -> None:
    clips = list(xytok.open_dataset(output))
    assert len(clips) == 10
    assert {np.asarray(clip.codes).dtype for clip in clips} == {np.dtype(np.int16)}


def test_it_is_verified_and_its_source_too(output: Path) -> None:
    verification = xytok.Run(output).verify(sources=True)
    assert (verification.checked, verification.faults) == (1, ())


def test_it_is_audited_with_the_codec_of_today(output: Path) -> None:
    findings = audit_run(output)
    assert [clip.drift is not None and clip.drift.stored_frames > 0 for clip in findings.clips] == (
        [True] * 10
    )
    assert all(clip.drift is not None and clip.drift.equal for clip in findings.clips)
    assert findings.tokens[0].problems == ()


def test_status_show_and_card_take_it(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "IT_B00000_S00000_W000000"
    assert cli.run(["status", str(output)]) == 0
    assert cli.run(["show", str(output), key, "--wav", str(tmp_path / "a.wav")]) == 0
    assert cli.run(["card", str(output), "--licence", "cc0-1.0", "--title", "Old"]) == 0
    assert "8 codebooks of 1,024, 12.5 frames a second" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["tokenize", "plan"])
def test_to_resume_it_is_refused_with_the_version_that_made_it(
    output: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [verb, SHARD, str(output), "--codec", "fake", "--engine", "inline"]
    assert cli.run(words) == 2
    error = capsys.readouterr().err
    assert "was made by xytok 0.1.0 in format 1, this is xytok" in error
    assert "`verify` and `audit` take it" in error
