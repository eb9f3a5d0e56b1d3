"""The arguments of `tokenize`, shared with every command that takes the same ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.codec_options import add_compile_argument
from pipeline.bench.tuning_profile import find_profile
from pipeline.corpus.rules import ReadRules
from pipeline.errors import UsageError
from pipeline.fleet.worker_count import RayOptions
from pipeline.storage.client import Storage
from pipeline.storage.options import read_storage_options
from pipeline.worker.settings import Tuning

if TYPE_CHECKING:
    from pipeline.worker.codec_request import CodecRequest

_MIB = 1 << 20


def add_tokenize_options(parser: argparse.ArgumentParser) -> None:
    """Declare inputs, output, codec and the rules that shape the rows."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="IN … OUT",
        help="shards (paths, URLs, globs, `{a..b}` ranges, folders, @LIST), then the output",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML with these options; flags win")
    _add_codec_options(parser)
    _add_rule_options(parser)
    _add_run_options(parser)
    _add_ray_options(parser)


def _add_codec_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("codec")
    group.add_argument("--codec", default="xy-nano", help="name, path, URL or repository id")
    group.add_argument("--codec-config", metavar="FILE", help="the codec's YAML, if not beside it")
    group.add_argument("--precision", choices=("exact", "fast"), default="exact")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    group.add_argument("--overlap-seconds", type=float, default=10.0, metavar="S")
    add_compile_argument(group)


def _add_rule_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what becomes a row")
    group.add_argument("--where", metavar="EXPR", help="keep clips whose JSON fits the expression")
    group.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="the first N clips of every shard; JSON behind them is not seen",
    )
    group.add_argument("--max-shards", type=int, metavar="N", help="the first N shards")
    group.add_argument("--require-json", action="store_true", help="clips without JSON are rejects")
    group.add_argument(
        "--max-clip-seconds", type=float, metavar="S", help="longer ones are rejects"
    )
    group.add_argument("--max-member-mb", type=int, default=512, metavar="N")
    group.add_argument("--root", default="", help="leading path to cut off the mirrored paths")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--engine", choices=("ray", "inline"), default="ray")
    group.add_argument("--decode-threads", type=int, default=0, metavar="N", help="0: by the cores")
    group.add_argument(
        "--profile", type=Path, metavar="FILE", help="settings that `xytok bench` found fastest"
    )
    group.add_argument(
        "--storage-options",
        metavar="@FILE",
        help="endpoint, credentials, `anon`, `requester_pays`, as fsspec names them",
    )
    group.add_argument("--redo-changed", action="store_true", help="redo shards that were replaced")
    group.add_argument("--allow-damaged", action="store_true", help="damaged tars are no failure")
    group.add_argument("--max-reject-rate", type=float, default=0.5, metavar="RATE")
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--json", action="store_true", help="print the summary as JSON")


def _add_ray_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Ray")
    group.add_argument("--address", help="a running cluster; without it Ray is started here")
    group.add_argument("--workers", type=_count_or_auto, metavar="N", help="auto: all that fit")
    group.add_argument("--gpus-per-worker", type=float, metavar="N", help="1 where GPUs are")
    group.add_argument("--cpus-per-worker", type=float, metavar="N", help="by the nodes")
    group.add_argument("--drain-seconds", type=float, default=300.0, metavar="S")
    group.add_argument(
        "--hang-minutes", type=float, default=15.0, metavar="M", help="replace workers that stall"
    )


def _count_or_auto(text: str) -> int | None:
    return None if text == "auto" else int(text)


def split_paths(args: argparse.Namespace) -> tuple[tuple[str, ...], str]:
    """The inputs and the output among the positional arguments."""
    if len(args.paths) < 2:
        raise UsageError(
            f"Only `{args.paths[0]}` is given; expected inputs and then the output folder; "
            "write for example `xytok tokenize 'shards/*.tar' out`"
        )
    *inputs, output = args.paths
    return tuple(inputs), output


def rules_of(args: argparse.Namespace) -> ReadRules:
    """The rules that shape the rows."""
    return ReadRules(
        where=args.where,
        limit=args.limit,
        require_json=args.require_json,
        max_clip_seconds=args.max_clip_seconds,
        max_member_bytes=args.max_member_mb * _MIB,
        root=args.root,
    )


def codec_of(args: argparse.Namespace) -> "CodecRequest":
    """The codec that is asked for, not loaded."""
    from pipeline.worker.codec_request import CodecRequest

    return CodecRequest(
        args.codec,
        args.codec_config,
        args.precision,
        args.device,
        args.overlap_seconds,
        args.compile,
    )


def storage_of(args: argparse.Namespace) -> Storage:
    """Storage with the options of a file, if one was given."""
    return Storage(read_storage_options(args.storage_options))


def ray_options_of(args: argparse.Namespace) -> RayOptions:
    """What is asked of Ray."""
    return RayOptions(
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        cpus_per_worker=args.cpus_per_worker,
        address=args.address,
        drain_seconds=args.drain_seconds,
        hang_minutes=args.hang_minutes,
    )


def tuning_of(args: argparse.Namespace) -> Tuning:
    """Threads and queues: as given, else by `--profile`, else by what bench found here."""
    # Several Ray workers share a machine, so a profile has to be asked for there.
    profile = find_profile(args.profile, use_default=args.engine == "inline")
    if profile is None:
        return Tuning(decode_threads=args.decode_threads)
    return Tuning(
        decode_threads=args.decode_threads or profile.decode_threads,
        ahead_seconds=profile.ahead_seconds,
        packs_in_flight=profile.buffers_in_flight,
    )
