"""`xytok doctor`: says whether this machine, storage and cluster are fit, and what to do if not."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.inspect.doctor import Check

EXAMPLE = "xytok doctor s3://bucket/out --write --address auto --codec xy-nano"
_MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    parser.add_argument("url", nargs="*", help="folders to list, for instance your bucket")
    parser.add_argument("--write", action="store_true", help="also write and remove a small file")
    parser.add_argument("--storage-options", metavar="@FILE", help="endpoint and credentials")
    parser.add_argument("--address", help="a Ray cluster to join, `auto` for RAY_ADDRESS's")
    parser.add_argument("--codec", help="a checkpoint to load and try")
    parser.add_argument("--json", action="store_true", help="findings as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Print every finding; 1 if one of them is a fault."""
    checks = list(_checks(args))
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            _print(check)
    return int(any(check.verdict == "fault" for check in checks))


def _checks(args: argparse.Namespace) -> "list[Check]":
    from pipeline.inspect import doctor as machine
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options

    checks = list(machine.check_machine())
    if args.url:
        storage = Storage(read_storage_options(args.storage_options))
        checks += [machine.check_storage(url, storage, args.write) for url in args.url]
    if args.codec:
        checks.append(machine.check_codec(args.codec))
    if args.address:
        checks.append(machine.check_cluster(args.address))
    return checks


def _print(check: "Check") -> None:
    print(f"{_MARKS[check.verdict]}  {check.subject:16} {check.found}")
    if check.advice:
        print(f"{'':7}{'':16} → {check.advice}")
