"""`xytok card`: a dataset card for a hub, made from an output."""

import argparse
from pathlib import Path

from jobs.storage_argument import add_storage_argument, storage_of

EXAMPLE = "xytok card s3://bucket/out --licence cc-by-4.0 --title Codes --save README.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the output and what no file knows."""
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--licence", default="other", help="the licence of the speech")
    parser.add_argument("--title", default="Speech codes")
    parser.add_argument("--save", metavar="FILE", help="write there instead of printing")
    add_storage_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print or save the card."""
    from pipeline.inspect.card import make_card

    card = make_card(args.output, storage_of(args), licence=args.licence, title=args.title)
    if args.save:
        Path(args.save).write_text(card, "utf-8")
    else:
        print(card)
    return 0
