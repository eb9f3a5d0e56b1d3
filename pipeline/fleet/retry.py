"""Reads the rejects of an output again, after a repair or with another decoder.

`xytok retry` calls it. The codes go to an output of their own inside the first one
(`output/retries.py`), which an ordinary run makes: only clips that were rejects count there, and
all others are filtered.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.corpus.listing import look_up
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules, RuleChanges
from pipeline.corpus.shard import (
    LIST_SUFFIX,
    Shard,
    both_etags,
    cuts_of,
    has_cuts,
    list_path,
)
from pipeline.errors import ChangedError, UsageError, list_lines
from pipeline.fleet.run import RunRequest
from pipeline.output.index import read_shards
from pipeline.output.manifest import list_manifests
from pipeline.output.rejects import earlier_retries, rejects_left
from pipeline.output.retries import outer_of, retry_numbers, retry_url
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from xy_codec.nearest_name import nearest

_READERS = 16
_COLUMNS = ("shard", "url", "source_size_bytes", "source_etag", "rejects_by_reason")
# Such a reject is not the clip of its key, or would have another key.
_NEVER = (Reason.DUPLICATE_KEY, Reason.KEY_DOTS)


def retry_request(
    output: str,
    reasons: Sequence[str],
    codec: CodecRequest,
    changes: RuleChanges,
    storage: Storage,
    tuning: Tuning,
    *,
    quiet: bool = False,
) -> RunRequest | None:
    """The run that reads rejects again; None when none with these reasons is left.

    A retry that was interrupted is gone on with.

    Args:
        codec: where the codec of the output is now.
        changes: rules that differ from those of the output.
    """
    output = normalise(output)
    record = read_run_record(storage, output)
    check_reasons(reasons)
    if record.identity.get("retry"):
        raise UsageError(
            f"`{redact(output)}` is itself a retry of rejects; expected the output of `xytok "
            f"tokenize`; pass `{redact(outer_of(output))}`"
        )
    shards = _shards_with(storage, output, record, reasons)
    number = max(retry_numbers(storage, output), default=0)
    left: list[Shard] = []
    if number and _is_of(storage, retry_url(output, number), reasons):
        left = _with_rejects(storage, output, shards, reasons, number)
    if all(_is_done(storage, retry_url(output, number), left)):
        number += 1
        left = _with_rejects(storage, output, shards, reasons, number)
    if not left:
        return None
    _check_same(left, storage)
    return RunRequest(
        inputs=(),
        output=retry_url(output, number),
        rules=rules_of(record, reasons, changes),
        storage=storage,
        tuning=tuning,
        # What an earlier try made of a shard that was replaced since is made again.
        redo_changed=True,
        quiet=quiet,
        codec=codec,
        shards=tuple(left),
    )


def check_reasons(reasons: Sequence[str]) -> None:
    """Refuse words that are no reasons, and reasons that reading again cannot mend."""
    known = [str(reason) for reason in Reason if reason not in _NEVER]
    for reason in reasons:
        if reason not in known:
            raise UsageError(
                f"`--reason {reason}` cannot be retried; expected {nearest(reason, known)}; "
                "`xytok status` counts the rejects of an output by reason"
            )
    if not reasons:
        raise UsageError(
            f"No reason is given; expected some of {', '.join(known)}; write for example "
            "`--reason undecodable`"
        )


def rules_of(record: RunRecord, reasons: Sequence[str], changes: RuleChanges) -> ReadRules:
    """The rules of an output for a retry, with some changed."""
    identity = record.identity
    same = ("where", "limit", "require_json", "max_clip_seconds", "root")
    rules = ReadRules.of_reading(identity)
    kept = {name: identity[name] for name in same} | {"retry": tuple(sorted(set(reasons)))}
    return changes.applied_to(replace(rules, **kept))


def _shards_with(
    storage: Storage, output: str, record: RunRecord, reasons: Sequence[str]
) -> list[Shard]:
    """The shards that have rejects with these reasons, as they were when they were read."""
    names = list_manifests(storage, output, record.identity8)
    found: list[Shard] = []
    for table in read_shards(storage, output, names, _COLUMNS):
        for row in table.to_pylist():
            if not {each["reason"] for each in row["rejects_by_reason"]}.isdisjoint(reasons):
                url, etag = row["url"], row["source_etag"]
                cuts = cuts_of(url) if has_cuts(etag) else ""
                size = row["source_size_bytes"]
                found.append(Shard(url, row["shard"], size, etag, cuts=cuts))
    return sorted(found, key=lambda shard: shard.path)


def _is_of(storage: Storage, retry: str, reasons: Sequence[str]) -> bool:
    """Whether a retry read rejects with these reasons."""
    identity = read_run_record(storage, retry).identity
    return sorted(identity.get("retry", ())) == sorted(set(reasons))


def _is_done(storage: Storage, retry: str, shards: Sequence[Shard]) -> Iterator[bool]:
    """Of each shard, whether a retry finished it; none without shards."""
    if shards:
        identity8 = read_run_record(storage, retry).identity8
        done = {(name.stem, name.source8) for name in list_manifests(storage, retry, identity8)}
        yield from ((shard.stem, shard.source8) in done for shard in shards)


def _with_rejects(
    storage: Storage, output: str, shards: Sequence[Shard], reasons: Sequence[str], number: int
) -> list[Shard]:
    """The shards of which earlier retries left some rejects, lists with what they list."""
    earlier = earlier_retries(storage, output, number)

    def look(shard: Shard) -> Shard | None:
        if not rejects_left(storage, output, shard, reasons, earlier):
            return None
        if not shard.path.endswith(LIST_SUFFIX):
            return shard
        return replace(shard, listed=storage.read_bytes(join(output, list_path(shard.stem))))

    with ThreadPoolExecutor(_READERS) as pool:
        return [shard for shard in pool.map(look, shards) if shard is not None]


def _check_same(shards: Sequence[Shard], storage: Storage) -> None:
    """Refuse shards that are gone or were replaced: their keys may mean other clips now."""
    files = [shard for shard in shards if not shard.listed]
    urls = [url for shard in files for url in (shard.url, shard.cuts) if url]
    found = look_up(urls, storage)
    changed = []
    for shard in files:
        now, cuts = found[shard.url], found.get(shard.cuts)
        etag = "" if now is None else now.etag
        if shard.cuts:
            etag = both_etags(etag, "" if cuts is None else cuts.etag)
        if now is None or (now.size_bytes, etag) != (shard.size_bytes, shard.etag):
            changed.append(f"`{redact(shard.url)}` {'is gone' if now is None else 'was replaced'}")
    if changed:
        raise ChangedError(
            f"{plural(len(changed), 'shard with rejects is', 'shards with rejects are')} not as "
            "they were read:\n"
            f"{list_lines(changed)}\nexpected the same files; put them back, or run the command of "
            "the output again with `--redo-changed`"
        )
