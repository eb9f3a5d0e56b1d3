"""An export that is killed and run again leaves the bytes of one that was not."""

import subprocess
from pathlib import Path

import pytest

from tests.support.export_kills import export_command, kill_when
from tests.support.export_run import files_in


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [[], ["--shuffle", "1"]])
def test_a_killed_export_ends_with_the_bytes_of_an_undisturbed_one(
    shuffle: list[str], run: Path, tmp_path: Path
) -> None:
    # One folder for both, because `data.lst` names files by their paths.
    folder = tmp_path / "out"
    options = ["--to", "omnivoice", "--samples-per-shard", "2", *shuffle]
    command = export_command(run, folder, *options)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    folder.rename(tmp_path / "undisturbed")
    for num_files in (1, 6, 14, 25):
        assert kill_when(command, folder, num_files)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert files_in(folder) == files_in(tmp_path / "undisturbed")
