"""An export by tasks of a cluster has the bytes of one in this process."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.export.export import run_export
from pipeline.export.exporter import ExportRequest
from pipeline.export.ray_map import write_on_ray
from pipeline.storage.client import Storage
from tests.support.export_run import export, files_in
from tests.support.ray_runs import ray_cluster_of


@pytest.mark.slow
def test_tasks_write_what_one_process_writes(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "here", "shar", samples_per_shard=2)
    with ray_cluster_of(2):
        request = ExportRequest(
            str(run), str(tmp_path / "ray"), "shar", Storage(), samples_per_shard=2
        )
        run_export(request, write_shards=write_on_ray)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "here")


def test_a_shuffle_is_not_spread_over_a_cluster(run: Path, tmp_path: Path) -> None:
    request = ExportRequest(str(run), str(tmp_path / "out"), "shar", Storage(), shuffle=1)
    with pytest.raises(UsageError, match="expected it with `--engine inline`"):
        run_export(request, write_shards=write_on_ray)
