"""Every way in keeps the promises of tars: equal bytes, resuming, changed sources, audits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from jobs.exit_codes import exit_code_of
from pipeline.audit.judge.verdict import judge
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, check_finished, run_tokenize
from pipeline.fleet.summary import RunSummary
from pipeline.inspect.verify import verify_output
from pipeline.output.manifest import list_manifests, read_named_manifests
from pipeline.read.dataset import open_dataset
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.audio_parquet import row, write_parquet
from tests.support.audit_run import audit_run
from tests.support.hub_server import hub_server
from tests.support.inline_run import run_shards
from tests.support.s3_server import S3Server
from tests.support.shard_maker import audio, pair, write_shard

CLIPS = 9
DIFFER = {"events", "lease", "index"}


def tokenize(*words: object) -> int:
    line = ["tokenize", *map(str, words), "--codec", "fake", "--engine", "inline", "--quiet"]
    return cli.run([*line, "--decode-threads", "1"])


def tree(output: Path) -> dict[str, bytes]:
    files = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    ours = (path for path in files if path.name != "run.json" and not DIFFER & set(path.parts))
    return {str(path): (output / path).read_bytes() for path in ours}


def make_parquet(folder: Path, seed: int = 0) -> str:
    for number in range(3):
        rows = [row(3 * number + n + seed) for n in range(3)]
        write_parquet(folder / f"train-{number}.parquet", rows, group_rows=2)
    return str(folder)


def make_folder(folder: Path, seed: int = 0) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(CLIPS):
        (folder / f"c.{number}.wav").write_bytes(audio(0.5, kind="wav", seed=number + seed))
        (folder / f"c.{number}.txt").write_text(f"text {number}")
    return str(folder)


def make_segments(folder: Path, seed: int = 0) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "long.flac").write_bytes(audio(6.0, kind="flac", seed=seed))
    lines = [
        {"audio_filepath": "long.flac", "offset": n / 2, "duration": 0.5, "text": f"text {n}"}
        for n in range(CLIPS)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder / "train.jsonl")


def make_shar(folder: Path, seed: int = 0) -> str:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    folder.mkdir(parents=True, exist_ok=True)
    cuts = []
    for number in range(CLIPS):
        path = folder / f"c.{number}.wav"
        path.write_bytes(audio(0.5, kind="wav", seed=number + seed))
        recording = Recording.from_file(path)
        said = SupervisionSegment(f"s{number}", recording.id, 0, 0.4, text=f"text {number}")
        cuts.append(MonoCut(f"c.{number}", 0.1, 0.4, 0, recording=recording, supervisions=[said]))
    (folder / "shar").mkdir(exist_ok=True)
    CutSet.from_cuts(cuts).to_shar(folder / "shar", {"recording": "flac"}, shard_size=4)
    return str(folder / "shar")


MAKERS = {
    "shar": make_shar,
    "parquet": make_parquet,
    "folder": make_folder,
    "segments": make_segments,
}
Corpus = tuple[Path, list[object], Callable[[int], str]]


@pytest.fixture(params=list(MAKERS))
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    """A finished run, its command, and what makes its source again with other sound."""

    def make(seed: int) -> str:
        return str(MAKERS[request.param](tmp_path / "in", seed))

    words: list[object] = [make(0), tmp_path / "out", "--root", tmp_path]
    words += ["--clips-per-list", 4] if request.param in ("folder", "segments") else []
    assert tokenize(*words) == 0
    return tmp_path / "out", words, make


def test_every_promise_of_tars_holds(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, words, make = corpus
    before = tree(output)
    # A lost manifest is made again with the same bytes, and an equal run is equal.
    next(output.glob("manifests/**/*.json")).unlink()
    assert tokenize(*words) == 0
    assert tree(output) == before
    shutil.move(output, tmp_path / "first")
    assert tokenize(*words) == 0
    assert tree(output) == before
    assert cli.run(["verify", str(output), "--quiet"]) == 0
    assert cli.run(["verify", str(output), "--quick", "--quiet"]) == 0
    # Codes are audited against the originals, all of which are found again.
    findings = audit_run(output, plan=SamplePlan(20), list_sources=True)
    assert sum(report.source.clips or 0 for report in findings.tokens) == CLIPS
    assert [clip.drift is not None and clip.drift.equal for clip in findings.clips] == (
        [True] * CLIPS
    )
    assert judge(findings, codes_only=True).verdict == "ok"
    rows = [
        row
        for part in output.glob("tokens/**/*.parquet")
        for row in pq.read_table(part).to_pylist()
    ]
    assert {row["text"] for row in rows} == {f"text {number}" for number in range(CLIPS)}
    key = next(iter(pq.read_table(next(output.glob("tokens/**/*.parquet")))["key"])).as_py()
    original = tmp_path / "original.wav"
    assert cli.run(["show", str(output), key, "--original", str(original)]) == 0
    assert len(original.read_bytes()) > 1000
    # A source that was replaced is refused, and done again where that is asked for.
    make(7)
    capsys.readouterr()
    assert tokenize(*words) == 2
    assert "were replaced since" in capsys.readouterr().err
    assert cli.run(["verify", str(output), "--quiet"]) == 1
    assert tokenize(*words, "--redo-changed") == 0
    assert cli.run(["verify", str(output), "--quiet"]) == 0


@pytest.mark.parametrize("kind", ["tar", *MAKERS])
def test_a_source_that_is_replaced_between_listing_and_reading_is_not_taken_for_the_old_one(
    kind: str, tmp_path: Path
) -> None:
    def make(seed: int) -> str:
        if kind == "tar":
            return str(write_shard(tmp_path / "in/a.tar", pair("a", 0.5, seed=seed)))
        return MAKERS[kind](tmp_path / "in", seed)

    codec, inputs, output = CodecRequest("fake"), make(0), str(tmp_path / "out")
    listed = tuple(list_shards([inputs], Storage()))

    def run(shards: tuple[Shard, ...] | None) -> RunSummary:
        request = RunRequest(
            *((inputs,), output, ReadRules(), Storage(), Tuning(1)),
            quiet=True,
            codec=codec,
            shards=shards,
        )
        return run_tokenize(request, InlineEngine(codec))

    make(7)
    told = run(listed)
    assert told.done == 0
    assert all("was replaced since it was listed" in why for _, why in told.failed)
    with pytest.raises(InputError, match="run the same command again") as error:
        check_finished(told, allow_damaged=False)
    assert exit_code_of(error.value) == 1
    assert run(None).done == len(listed)
    assert verify_output(output, Storage()).is_clean


def test_other_lists_or_rules_are_refused_with_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (make_folder(tmp_path / "in"), tmp_path / "out", "--root", tmp_path)
    assert tokenize(*words) == 0
    assert tokenize(*words, "--clips-per-list", 4) == 2
    assert "clips_per_list: output has `None`, this run has `4`" in capsys.readouterr().err


def test_a_list_that_was_touched_is_found(tmp_path: Path) -> None:
    words = (make_folder(tmp_path / "in"), tmp_path / "out", "--root", tmp_path)
    assert tokenize(*words) == 0
    (path,) = tmp_path.glob("out/lists/**/*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"c.1", b"c.2"))
    assert cli.run(["verify", str(tmp_path / "out"), "--quiet"]) == 1
    path.unlink()
    assert cli.run(["verify", str(tmp_path / "out"), "--quick", "--quiet"]) == 1


def test_a_bucket_gives_parquet_by_ranges_and_files_of_lists(s3: S3Server, tmp_path: Path) -> None:
    storage = Storage({"s3": s3.storage_options()})
    fs, _ = storage.filesystem("s3://ways-in/x")
    fs.mkdir("ways-in")
    make_parquet(tmp_path / "pq")
    make_segments(tmp_path / "wav")
    for path in (*tmp_path.glob("pq/*"), *tmp_path.glob("wav/*")):
        fs.put_file(str(path), f"ways-in/{path.relative_to(tmp_path)}")
    (tmp_path / "s3.json").write_text(json.dumps({"s3": s3.storage_options()}))
    words = ("s3://ways-in/pq/*.parquet", "s3://ways-in/wav/train.jsonl", "s3://ways-in/out")
    assert tokenize(*words, "--storage-options", f"@{tmp_path}/s3.json") == 0
    names = list_manifests(storage, "s3://ways-in/out")
    manifests = read_named_manifests(storage, "s3://ways-in/out", names)
    assert [manifest.codes for manifest in manifests] == [3, 3, 3, CLIPS]
    assert storage.exists("s3://ways-in/out/lists/wav/train-00000.jsonl")


def test_a_dataset_of_a_hub_is_read_by_ranges(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(CLIPS)])
    with hub_server() as hub:
        hub.files = {"data/train-0.parquet": path.read_bytes(), "data/note.md": b"note"}
        storage = Storage({"hf": {"endpoint": hub.url, "token": False}})
        shards = list_shards(["hf://datasets/somebody/speech/data/*.parquet"], storage)
        assert [shard.path for shard in shards] == ["data/train-0.parquet"]
        (result,) = run_shards(shards, tmp_path / "out", ReadRules(), storage=storage).values()
    assert [each["text"] for each in result.rows] == [f"text {n}" for n in range(CLIPS)]
    assert max(hub.ranges) <= path.stat().st_size


@pytest.mark.filterwarnings(
    "ignore:.*unclosed file:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_keys_with_dots_stay_apart_in_exports(tmp_path: Path) -> None:
    from webdataset import WebDataset

    words = (make_folder(tmp_path / "in"), tmp_path / "out", "--root", tmp_path)
    assert tokenize(*words) == 0
    export = ["export", str(tmp_path / "out"), str(tmp_path / "tars"), "--to", "webdataset"]
    assert cli.run([*export, "--quiet"]) == 0
    tars = [str(path) for path in tmp_path.glob("tars/**/*.tar")]
    found = {sample["__key__"] for sample in WebDataset(tars, shardshuffle=False)}
    assert found == {f"c_{number}" for number in range(CLIPS)}


def test_a_folder_that_became_shorter_leaves_no_clip_behind(tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number, name in enumerate("bcdefg"):
        (folder / f"{name}.mp3").write_bytes(audio(0.4, seed=number))
    words = ["tokenize", str(folder), str(output), "--codec", "fake", "--engine", "inline"]
    words += ["--clips-per-list", "3", "--quiet"]
    assert cli.run(words) == 0
    for name in "bcd":
        (folder / f"{name}.mp3").unlink()
    assert cli.run(words) == 2
    assert cli.run([*words, "--redo-changed"]) == 0
    assert [clip.key for clip in open_dataset(output, columns=())] == ["e", "f", "g"]
    assert verify_output(str(output), Storage(), clean=True).faults == ()
    assert verify_output(str(output), Storage()).is_clean
    # Only the first lists of a run are no reason to forget the others.
    (folder / "h.mp3").write_bytes(audio(0.4, seed=9))
    assert cli.run(words) == 0
    assert cli.run([*words, "--max-shards", "1", "--redo-changed"]) == 0
    assert len(list(open_dataset(output, columns=()))) == 4


def test_a_glob_that_names_the_output_s_own_parts_is_read_once(tmp_path: Path) -> None:
    write_shard(tmp_path / "in/a.tar", pair("one", 0.4))
    words = ["tokenize", str(tmp_path / "in/**/*.*"), str(tmp_path / "in/out"), "--codec", "fake"]
    for _ in range(2):
        assert cli.run([*words, "--engine", "inline", "--quiet"]) == 0
    assert len(list(open_dataset(tmp_path / "in/out"))) == 1


def test_a_speaker_that_is_a_number_is_one_speaker_everywhere(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "in/a.tar", [*pair("one", 0.4, speaker=12), *pair("two", 0.4, speaker="B")]
    )
    words = [tmp_path / "in", tmp_path / "out", "--where", "speaker == '12'"]
    assert tokenize(*words) == 0
    (clip,) = open_dataset(tmp_path / "out", where="speaker == '12'", columns=("speaker", "extra"))
    assert clip.columns["speaker"] == "12"
    assert "speaker" not in (clip.columns["extra"] or "")


def test_inputs_in_the_output_s_own_folder_are_done(tmp_path: Path, capsys) -> None:
    for corpus in ("here/a", "here/b", "other"):
        (tmp_path / corpus).mkdir(parents=True)
        write_parquet(tmp_path / corpus / "train.parquet", [row(n) for n in range(3)])
    words = (tmp_path / "here/**/*.parquet", tmp_path / "other/*.parquet", tmp_path / "here")
    assert tokenize(*words) == 0
    assert len(list_manifests(Storage(), str(tmp_path / "here"))) == 3
    capsys.readouterr()
    assert tokenize(*words) == 0
    assert "`" in (said := capsys.readouterr().err)
    assert "of the output itself are left out" in said  # its parts, which the glob names as well
    assert cli.run(["plan", *map(str, words), "--codec", "fake", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3


def test_inputs_that_are_all_of_the_output_itself_are_refused(tmp_path: Path, capsys) -> None:
    make_parquet(tmp_path / "in")
    assert tokenize(tmp_path / "in", tmp_path / "out") == 0
    assert tokenize(tmp_path / "out/**/*.parquet", tmp_path / "out") == 2
    assert "expected inputs that are not of this run" in capsys.readouterr().err
