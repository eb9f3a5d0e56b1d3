"""`import xytok`: cheap, complete, and every example in its docstrings runs."""

import doctest
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import xytok
from tests.support.places import ROOT, SPEECH
from tests.support.shard_maker import pairs, write_shard

SHARD = SPEECH / "Emilia/IT/IT-B000000.tar"


def examples() -> Iterator[doctest.DocTest]:
    """The docstring of every function, and of every class with its public methods, as a test."""
    finder = doctest.DocTestFinder(exclude_empty=False)
    for name in sorted(xytok.__all__):
        value = getattr(xytok, name)
        if inspect.isfunction(value) or name in ("Run", "TorchCodes"):
            found = finder.find(value, name, module=False, globs={"xytok": xytok})
            own = (test for test in found if not test.name.split(".")[-1].startswith("_"))
            yield from (test for test in own if test.docstring and test.name.count(".") < 2)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("face") / "codes"
    xytok.tokenize(SHARD, output, codec="xy-nano", engine="inline")
    return output


def test_every_function_has_an_example() -> None:
    with_example = {test.name for test in EXAMPLES if test.examples}
    functions = {n for n in xytok.__all__ if inspect.isfunction(getattr(xytok, n))}
    methods = {f"Run.{n}" for n, _ in inspect.getmembers(xytok.Run, inspect.isfunction)}
    wanted = functions | {n for n in methods if "._" not in n} | {"Run", "TorchCodes"}
    assert {"load_codec", "open_dataset", "tokenize", "Run.audit"} < wanted
    assert not wanted - with_example


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.examples], ids=lambda example: example.name
)
def test_example_runs(
    example: doctest.DocTest, codes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    if example.name != "tokenize":
        shutil.copytree(codes, tmp_path / "codes")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example, out=said.append).failed == 0, "".join(said)


def test_importing_it_costs_less_than_50_ms_and_no_library() -> None:
    code = (
        "import sys, time; before = set(sys.modules); start = time.process_time(); import xytok;"
        "print(time.process_time() - start);"
        "imported = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(imported - sys.stdlib_module_names)"
    )
    costs = []
    for _ in range(3):
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seconds, imported = out.stdout.splitlines()
        assert imported == "{'xytok'}"
        costs.append(float(seconds))
    assert min(costs) < 0.05


def test_every_name_is_there_and_a_wrong_one_is_refused() -> None:
    assert dir(xytok) == sorted(xytok.__all__)
    assert all(getattr(xytok, name) is not None for name in xytok.__all__)
    misspelt = "tokenise"
    with pytest.raises(AttributeError, match=r"no attribute 'tokenise'.*'tokenize'"):
        getattr(xytok, misspelt)


def test_both_families_of_errors_are_caught_by_name(tmp_path: Path) -> None:
    with pytest.raises(xytok.PipelineError, match=r"nowhere\.tar"):
        xytok.tokenize(tmp_path / "nowhere.tar", tmp_path / "out", codec="fake", engine="inline")
    with pytest.raises(xytok.XYCodecError, match=r"nowhere\.safetensors"):
        xytok.load_codec(tmp_path / "nowhere.safetensors")


def test_a_wrong_setting_is_a_value_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"limit\n.*greater than or equal to 1"):
        xytok.ReadRules(limit=0)


@pytest.mark.parametrize(
    ("family", "module"),
    [("PipelineError", "pipeline.errors"), ("XYCodecError", "xy_codec.errors")],
)
def test_the_page_names_every_error(family: str, module: str) -> None:
    named = re.search(
        rf"^    {family} +(.*?); all in `{module}`$", xytok.__doc__ or "", re.M | re.S
    )
    assert named is not None
    classes = inspect.getmembers(importlib.import_module(module), inspect.isclass)
    own = {name for name, each in classes if each.__module__ == module}
    assert set(re.split(r",\s+", named[1])) == own - {family}
    assert own < set(xytok.__all__)
    assert all(getattr(xytok, name) is dict(classes)[name] for name in own)


def test_the_version_is_that_of_the_package() -> None:
    assert xytok.__version__ == metadata.version("xytok")


@pytest.mark.parametrize("engine", ["local", "Ray", ""])
def test_an_unknown_engine_is_refused_before_any_work(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(xytok.UsageError, match=f"{engine!r}.*`ray` or `inline`"):
        xytok.tokenize(SHARD, tmp_path / "out", codec="fake", engine=engine)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("look", [xytok.Run.status, xytok.Run.verify, xytok.Run.audit])
def test_a_folder_without_a_run_is_named(
    look: Callable[[xytok.Run], object], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(xytok.NotFoundError) as caught:
        look(xytok.Run(nowhere))
    assert str(caught.value) == (
        f"`{nowhere}` holds no run; expected the output folder of `xytok tokenize`; check the path"
    )


def test_the_same_call_again_does_what_is_left(corpus: Path) -> None:
    shards = [corpus / "in/s0.tar", corpus / "in/s1.tar"]
    wanted = xytok.CodecRequest("fake", options=("overlap_seconds=0",))
    rules = xytok.ReadRules(limit=3)
    for inputs, done in ((shards[:1], 1), (shards, 1), (shards, 0)):
        run = xytok.tokenize(
            inputs, corpus / "out", codec=wanted, rules=rules, engine="inline", quiet=True
        )
        assert run.summary is not None
        assert run.summary.done == done
    assert run.status().codes == 6


def test_a_damaged_shard_is_an_error_that_can_be_allowed(tmp_path: Path) -> None:
    write_shard(tmp_path / "in/a.tar", pairs(4))
    content = (tmp_path / "in/a.tar").read_bytes()
    (tmp_path / "in/a.tar").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(xytok.PipelineError, match="1 shard is damaged"):
        xytok.tokenize(tmp_path / "in", tmp_path / "out", codec="fake", engine="inline")
    run = xytok.tokenize(
        tmp_path / "in", tmp_path / "out", codec="fake", engine="inline", allow_damaged=True
    )
    assert run.status().damaged == [str(tmp_path / "in/a.tar")]


@pytest.mark.slow
def test_ray_is_the_usual_engine(corpus: Path) -> None:
    script = (
        "import sys, xytok; ray = xytok.RayOptions(workers=1, cpus_per_worker=1);"
        "print(xytok.tokenize(sys.argv[1], sys.argv[2], codec='fake', ray=ray).summary.codes)"
    )
    words = [sys.executable, "-c", script, str(corpus / "in"), str(corpus / "out")]
    out = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.stdout.splitlines()[-1] == "12", out.stderr[-2000:]


def test_a_loaded_codec_is_no_name_of_one(corpus: Path) -> None:
    codec: Any = xytok.load_codec("fake")
    with pytest.raises(xytok.UsageError, match="`codec` is a FakeCodec; expected a name"):
        xytok.tokenize(corpus / "in", corpus / "out", codec=codec, engine="inline")
