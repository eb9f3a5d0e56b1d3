"""`xytok bench` as a user runs it, on a machine without a GPU."""

import contextlib
import json

import pytest

from jobs.cli import run
from pipeline.bench.kept_speeds import find_speed
from pipeline.bench.tuning_profile import read_profile
from pipeline.worker.codec_request import CodecRequest

SHORT = ("--seconds", "1", "--torch-threads", "1")


@pytest.fixture(scope="module")
def report(tmp_path_factory, request):
    """One short run with the codec that costs nothing; its speed is kept in a folder of its own."""
    folder = tmp_path_factory.mktemp("bench")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    profile, output = folder / "profile.json", folder / "report.json"
    words = ["bench", "--codec", "fake", *SHORT, "--json", "--save-tuning", str(profile)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        with (
            capture.global_and_fixture_disabled(),
            output.open("w") as file,
            contextlib.redirect_stdout(file),
        ):
            code = run(words)
        assert code == 0
        yield json.loads(output.read_text()), profile


def test_report_has_every_section_and_states_the_options(report):
    figures, _ = report
    assert figures["options"] == {"depth": 8, "overlap_seconds": 10.0}
    assert figures["machine"]["matmul_gflops"] > 0
    assert figures["host"]["times_realtime_per_core"] > 0
    assert figures["storage"]["read_mb_per_second"] > 0
    assert figures["end_to_end"]["times_realtime"] > 0
    assert figures["start_up"]["imports_seconds"] > 0


def test_grid_covers_encode_and_decode_alone_and_together(report):
    grid = report[0]["grid"]
    assert {cell["direction"] for cell in grid} == {"encode", "decode"}
    assert {cell["clip_seconds"] for cell in grid} >= {3.0, 10.0, 30.0}
    assert min(cell["clips_together"] for cell in grid) == 1
    assert max(cell["clips_together"] for cell in grid) > 1


def test_stages_of_the_host_path_are_named(report):
    stages = {stage["stage"] for stage in report[0]["host"]["stages"]}
    assert stages >= {"read", "decode", "encode", "write"}


def test_profile_is_written_for_this_machine(report):
    figures, path = report
    profile = read_profile(path)
    assert (profile.cpu, profile.cores) == (figures["machine"]["cpu"], figures["machine"]["cores"])
    assert 1 <= profile.decode_threads <= figures["machine"]["cores"]


def test_the_speed_is_kept_for_plan_and_nothing_else_unasked(report):
    figures, profile = report
    measured = figures["end_to_end"]["times_realtime"]
    kept_speed = find_speed(CodecRequest("fake"))
    assert kept_speed
    assert kept_speed[0] == measured
    kept = {path.name for path in profile.parent.rglob("*.json")}
    assert kept == {"profile.json", "report.json", "speeds.json"}


def test_cost_is_computed_from_the_measured_speed(report):
    cost = report[0]["cost"]
    assert not cost["speed_is_assumed"]
    assert cost["speeds"]["encode"] == report[0]["end_to_end"]["times_realtime"]
    assert cost["corpus"]["hours"] == 101_000


@pytest.mark.parametrize(
    ("flag", "value"), [("--hours", "0"), ("--workers", "-1"), ("--speed", "0")]
)
def test_impossible_numbers_are_refused_before_anything_is_measured(capsys, flag, value):
    assert run(["bench", "--codec", "fake", flag, value]) == 2
    captured = capsys.readouterr()
    assert f"`{flag} {value}`; expected more than 0" in captured.err
    assert "measuring" not in captured.err
