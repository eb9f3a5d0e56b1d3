from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.audit.codes.part_file import PartFile, read_codes
from pipeline.audit.codes.token_checks import check_part, with_duplicates
from pipeline.audit.codes.token_report import entropy_bits
from pipeline.corpus.metadata import Metadata
from pipeline.corpus.shard import Shard
from pipeline.output.manifest import Manifest, WrittenFile
from pipeline.output.part import PartRow, PartWriter
from pipeline.storage.client import Storage
from xy_codec.fake import FAKES, FakeCodec

SHAPE = FAKES["fake"]


def make_rows(count: int = 40, seed: int = 0) -> list[PartRow]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        samples = int(rng.integers(24_000, 240_000))
        codes = rng.integers(0, 1024, (8, samples // 1920), dtype=np.int16)
        hash64 = int(rng.integers(0, 2**63))
        rows.append(PartRow(f"k{number}", codes, samples, 24_000, Metadata(), 0, 9, hash64))
    return rows


def change(row: PartRow, **values: Any) -> PartRow:
    return replace(row, **values)


@pytest.fixture
def check(tmp_path):
    """Write rows as a part and check it."""
    from pipeline.corpus.rules import ReadRules
    from pipeline.output.identity import build_identity

    identity = build_identity(FakeCodec().identity, ReadRules())
    storage, output = Storage(), str(tmp_path)

    def run(rows, shard="Emilia/EN/a.tar", **changes):
        place = Shard(f"/data/{shard}", shard, 1000, "e")
        writer = PartWriter(place, identity)
        for start in range(0, len(rows), 16):
            writer.add_row_group(rows[start : start + 16])
        written = writer.publish(storage, output)
        manifest = replace(make_manifest(shard, written, len(rows)), **changes)
        return check_part(PartFile.read(storage, output, manifest), manifest, SHAPE)

    return run


def make_manifest(shard: str, part: WrittenFile, codes: int) -> Manifest:
    empty = WrittenFile("rejects/x.parquet", 0, "", 0)
    values: dict[str, Any] = {
        "shard": shard,
        "url": f"/data/{shard}",
        "source_size_bytes": 1000,
        "source_etag": "e",
        "identity8": "0" * 8,
        "members": codes,
        "clips_seen": codes,
        "codes": codes,
        "rejects": 0,
        "filtered": 0,
        "frames": 0,
        "samples": 0,
        "source_seconds": 0.0,
        "part": part,
        "reject_file": empty,
    }
    return Manifest(**values)


def test_clean_part_has_nothing_to_report(check):
    rows = make_rows()
    report = check(rows).report
    assert (report.rows, report.manifest_rows) == (40, 40)
    assert report.frames == sum(row.codes.shape[1] for row in rows)
    faults = (report.bad_shape_rows, report.bad_length_rows, report.out_of_range_rows)
    assert faults == (0, 0, 0)
    assert (report.stuck_rows, report.duplicate_key_rows, report.problems) == (0, 0, ())


def test_counts_are_those_of_a_loop_over_rows(check):
    rows = make_rows()
    expected = np.zeros((8, 1024), dtype=np.int64)
    for row in rows:
        for codebook in range(8):
            np.add.at(expected[codebook], row.codes[codebook], 1)
    report = check(rows).report
    np.testing.assert_array_equal(report.counts, expected)
    assert report.usage == pytest.approx((expected > 0).mean(axis=1))


def test_entropy_of_equal_use_is_ten_bits():
    assert entropy_bits(np.full((1, 1024), 7)) == pytest.approx([10.0])
    assert entropy_bits(np.eye(1, 1024, dtype=np.int64)) == pytest.approx([0.0])


def test_codes_outside_the_codebook_are_counted_by_row(check):
    rows = make_rows()
    for number, value in ((3, 1024), (9, -1)):
        codes = rows[number].codes.copy()
        codes[5, 2] = value
        rows[number] = change(rows[number], codes=codes)
    report = check(rows).report
    assert report.out_of_range_rows == 2
    assert {example.key for example in report.examples} == {"k3", "k9"}


def test_frames_that_do_not_fit_the_samples_are_counted(check):
    rows = make_rows()
    rows[7] = change(rows[7], num_samples=rows[7].num_samples + 10 * 1920)
    report = check(rows).report
    assert report.bad_length_rows == 1
    assert report.examples[0].key == "k7"


@pytest.mark.parametrize(("run", "stuck"), [(25, 0), (26, 1)])
def test_two_seconds_of_one_frame_are_stuck(check, run, stuck):
    rows = make_rows()
    codes = np.arange(8 * 60, dtype=np.int16).reshape(8, 60)
    codes[:, 5 : 5 + run] = 3
    rows[0] = change(rows[0], codes=codes, num_samples=60 * 1920)
    report = check(rows).report
    assert (report.stuck_rows, report.repeated_frames) == (stuck, run - 1)


def test_rows_of_uneven_lists_are_marked_and_do_not_shift_the_others():
    good = [[book * 2, book * 2 + 1] for book in range(8)]
    bad = [*good[:7], [1]]
    column = pa.array([bad, good, good[:3], good], pa.list_(pa.list_(pa.int16())))
    batch = read_codes(column, np.array([2, 2, 2, 2]), SHAPE)
    assert batch.well_shaped.tolist() == [False, True, False, True]
    assert batch.rows.tolist() == [1, 1, 3, 3]
    np.testing.assert_array_equal(batch.codes[:, :2], np.array(good))


def test_duplicate_keys_and_audio_are_counted_across_shards(check):
    first, second = make_rows(seed=1), make_rows(seed=2)
    second[0] = change(second[0], audio_xxh64=first[5].audio_xxh64)
    second[1] = change(second[1], key="k2")
    reports = with_duplicates([check(first), check(second, "Emilia/EN/b.tar")])
    assert [report.duplicate_audio_rows for report in reports] == [0, 1]
    assert [report.duplicate_key_rows for report in reports] == [0, 1]


def test_codes_of_another_clip_are_counted_though_its_bytes_differ(check):
    first, second = make_rows(seed=1), make_rows(seed=2)
    second[7] = change(second[7], codes=first[5].codes, num_samples=first[5].num_samples)
    # What holds for long, as silence does, and what is hardly there is the same by chance.
    for rows in (first, second):
        held, short = np.full((8, 20), 3, np.int16), np.ones((8, 3), np.int16)
        rows[2] = change(rows[2], codes=held, num_samples=20 * 1920)
        rows[3] = change(rows[3], codes=short, num_samples=3 * 1920)
    reports = with_duplicates([check(first), check(second, "Emilia/EN/b.tar")])
    assert [report.duplicate_code_rows for report in reports] == [0, 1]
    assert [report.duplicate_audio_rows for report in reports] == [0, 0]
    assert reports[1].duplicates_of == "Emilia/EN/a.tar"


def test_missing_rows_and_unbalanced_manifests_show(check):
    report = check(make_rows(30), codes=40, clips_seen=44, rejects=3).report
    assert (report.rows, report.manifest_rows) == (30, 40)
    assert "43 of 44 clips" in report.problems[0]


def test_part_that_changed_after_its_manifest_is_a_problem(check):
    part = WrittenFile("tokens/Emilia/EN/a.parquet", 10, "f" * 64, 40)
    assert "not the file of its manifest" in check(make_rows(), part=part).report.problems[0]


def test_part_that_cannot_be_read_is_reported_and_not_raised(tmp_path):
    from pipeline.errors import OutputError

    with pytest.raises(OutputError, match="no Parquet"):
        PartFile(b"hello")
    manifest = make_manifest("a.tar", WrittenFile("tokens/a.parquet", 1, "", 3), 3)
    report = check_part(None, manifest, SHAPE, ["the part cannot be read"]).report
    assert (report.rows, report.manifest_rows) == (0, 3)
    assert report.problems == ("the part cannot be read",)
