"""Audits of real runs with the fake codec: what is planted is found, under its name."""

import numpy as np
import pytest

from pipeline.audit import audit
from pipeline.audit.findings import AuditFindings
from pipeline.audit.judge.judgement import ShardVerdict
from pipeline.audit.judge.verdict import judge
from pipeline.audit.metrics.speaker_similarity import load_speaker_model
from pipeline.audit.sample.originals import SourceMap
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.errors import IdentityError, UsageError
from tests.support.audit_run import (
    FIRST,
    audit_run,
    change_codes,
    change_part,
    copy_run,
    flip_one_percent,
    make_run,
)
from xy_codec.fake import FakeCodec

CODEC = FakeCodec()


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("audit") / "clean")


@pytest.fixture
def run(clean_run, tmp_path):
    return copy_run(clean_run, tmp_path / "run")


def verdict_of_first(findings: AuditFindings) -> ShardVerdict:
    shards = judge(findings, codes_only=True).shards
    others = [shard.verdict for shard in shards if not shard.shard.endswith(FIRST)]
    assert not {"drift", "broken"} & set(others)
    return next(shard for shard in shards if shard.shard.endswith(FIRST))


def test_clean_run_is_ok_and_every_clip_is_measured(clean_run):
    findings = audit_run(clean_run)
    assert len(findings.clips) == 29
    assert findings.same_platform
    assert all(clip.drift is not None and clip.drift.equal for clip in findings.clips)
    assert all(clip.drift and clip.drift.same_audio for clip in findings.clips)
    assert {clip.language for clip in findings.clips} == {"en"}
    assert {clip.corpus for clip in findings.clips} == {"Emilia"}
    assert all(clip.scores.gain_db is not None for clip in findings.clips)
    assert {clip.reasons["sim"] for clip in findings.clips} == {"not_asked"}
    assert judge(findings, codes_only=True).verdict == "ok"


def test_sim_of_whole_shards_is_that_of_the_processes(clean_run, monkeypatch):
    wanted = {"groups": ("sim", "acoustics"), "plan": SamplePlan(per_shard=3)}
    by_pool = audit_run(clean_run, **wanted)
    monkeypatch.setattr(audit, "device_speaker_model", load_speaker_model)
    by_shard = audit_run(clean_run, **wanted)
    assert [clip.scores for clip in by_shard.clips] == [clip.scores for clip in by_pool.clips]
    assert by_shard.sim_model == by_pool.sim_model == "campplus"
    assert all(clip.scores.sim is not None for clip in by_shard.clips)
    assert all("sim" not in clip.reasons for clip in by_shard.clips)
    assert all(clip.seconds["sim"] > 0 for clip in by_shard.clips)


def test_two_audits_find_the_same(clean_run):
    plan = SamplePlan(per_shard=3)
    first, second = (audit_run(clean_run, plan=plan, processes=count) for count in (0, 2))
    assert [clip.key for clip in first.clips] == [clip.key for clip in second.clips]
    assert [clip.scores for clip in first.clips] == [clip.scores for clip in second.clips]


def zero_deep_codebooks(codes):
    return [np.vstack([matrix[:4], np.zeros_like(matrix[4:])]) for matrix in codes]


def shift_by_one(codes):
    return [np.roll(matrix, 1, axis=1) for matrix in codes]


def swap_two(codes):
    # Of nearly equal length, as otherwise the length alone gives them away.
    order = np.argsort([matrix.shape[1] for matrix in codes])
    left, right = int(order[8]), int(order[9])
    codes[left], codes[right] = codes[right], codes[left]
    return codes


def permute_values(codes):
    """What another checkpoint does: every code means something else."""
    table = np.random.default_rng(1).permutation(1024).astype(np.int16)
    return [table[matrix] for matrix in codes]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (flip_one_percent, "scattered flips"),
        (zero_deep_codebooks, "zeroed codebooks"),
        (shift_by_one, "shifted offset"),
        (swap_two, "swapped codes"),
        (permute_values, "wrong checkpoint"),
    ],
)
def test_planted_changes_of_codes_are_named(run, change, fault):
    change_codes(run, change)
    shard = verdict_of_first(audit_run(run))
    assert fault in [found.name for found in shard.faults]


def test_gain_before_the_codec_is_named(run):
    from pipeline.audit.audit import AuditRequest, open_audit
    from pipeline.audit.codes.part_file import PartFile
    from pipeline.audit.sample.originals import OriginalReader
    from pipeline.audit.sample.sampling import sampled_clips
    from pipeline.corpus.rules import ReadRules
    from pipeline.storage.client import Storage

    audited, _ = open_audit(AuditRequest(str(run), device="cpu"))
    manifest = next(each for each in audited.manifests if each.shard.endswith(FIRST))
    part = PartFile.read(Storage(), str(run), manifest)
    table = part.columns_without_codes()
    rows = part.codes_of(range(table.num_rows))
    clips = sampled_clips(table, rows, manifest, manifest.url)
    rules = ReadRules.of_reading(audited.identity)
    read = OriginalReader.of_shard(Storage(), str(run), manifest, manifest.url, rules, 16000)
    sounds = [read(clip).waveform for clip in clips]
    gain = np.float32(10 ** (3 / 20))
    louder = CODEC.encode([sound * gain for sound in sounds if sound is not None])
    change_codes(run, lambda _: louder)
    shard = verdict_of_first(audit_run(run))
    assert shard.faults[0].name == "gain"
    assert "+3 dB" in shard.faults[0].evidence


def test_missing_rows_are_found_without_decoding(run):
    change_part(run, lambda table: table.slice(3))
    findings = audit_run(run, reencode=False)
    assert [found.name for found in verdict_of_first(findings).faults] == ["missing rows"]
    assert {clip.reasons["drift"] for clip in findings.clips} == {"not_asked"}


def test_part_changed_after_its_manifest_is_broken(run):
    change_part(run, lambda table: table, with_manifest=False)
    assert verdict_of_first(audit_run(run)).verdict == "broken"


def test_shards_without_manifest_do_not_count(run):
    name = next((run / "manifests/Emilia/EN").glob("EN-B000000.*.json"))
    name.unlink()
    findings = audit_run(run)
    assert findings.unfinished_shards == 1
    assert len(findings.tokens) == 1


def test_originals_that_are_gone_leave_reasons_not_errors(run):
    findings = audit_run(run, source_map=SourceMap((("/", "/nowhere/"),)))
    assert {clip.reasons["original"] for clip in findings.clips} == {"unreadable"}
    assert judge(findings, codes_only=True).verdict == "cannot judge"
    assert all(report.problems == () for report in findings.tokens)


def test_moved_originals_are_found_by_the_source_map(run, tmp_path):
    from tests.support.places import SPEECH

    (tmp_path / "moved").symlink_to(SPEECH)
    moved = SourceMap(((str(SPEECH), str(tmp_path / "moved")),))
    assert judge(audit_run(run, source_map=moved), codes_only=True).verdict == "ok"


def test_another_checkpoint_is_refused(run):
    with pytest.raises(IdentityError, match="--codec"):
        audit_run(run, codec="xy-nano")


def test_recorded_or_given_flip_rate_is_the_expectation(clean_run):
    plan = SamplePlan(per_shard=1)
    assert audit_run(clean_run, plan=plan).expected_flip_rate is None
    given = audit_run(clean_run, plan=plan, expected_flip_rate=0.002)
    assert given.expected_flip_rate == (0.002,) * 8


def test_only_named_shards_are_audited(run):
    findings = audit_run(run, only=("B000001",))
    assert len(findings.tokens) == 1
    with pytest.raises(UsageError, match="--shard`"):
        audit_run(run, only=("nothing",))
