"""Puts a Parquet export into a dataset repository of Hugging Face, with a card of its splits.

All files go in one commit, so a reader of the repository sees the whole export or none of it.
"""

from pathlib import Path

from pipeline.errors import RefusedError, StorageError, UsageError
from pipeline.export.record import EXPORT_RECORD, ExportRecord
from pipeline.inspect.card import size_category
from pipeline.plural import plural
from pipeline.storage.location import is_local, join, normalise, redact

_CARD = """
# {title}

{hours:,.2f} hours of speech as codes: {clips}.

- Codec: {codec[name]}, checkpoint sha256 `{codec[checkpoint_sha256]}`, precision {codec[precision]}
- Codes: `[T, K]`, {books} of {sizes} entries, {rate_hz:.5g} frames a second;
  no special tokens, no offsets, no delay
- Splits: {splits}
- `export.json` has the run's identity, the SHA-256 of every file and the command

```python
from datasets import load_dataset

codes = load_dataset("{repository}", split="{first}", streaming=True)
for row in codes.with_format("numpy"):
    print(row["key"], row["codes"].shape, row["text"])  # (num_frames, {num_codebooks})
```
"""


def check_push(format_name: str, destination: str) -> None:
    """Raise before work where an export could not be pushed."""
    if format_name != "parquet":
        raise UsageError(
            f"`--push-to-hub` pushes Parquet, not `--to {format_name}`; expected `--to parquet`; "
            "upload other formats with `hf upload`"
        )
    if not is_local(destination):
        raise UsageError(
            f"`--push-to-hub` uploads from this machine, `{redact(destination)}` is elsewhere; "
            "expected a local folder as destination; export to one"
        )


def push_to_hub(
    record: ExportRecord,
    destination: str,
    repository: str,
    *,
    licence: str,
    title: str,
    endpoint: str | None = None,
) -> str:
    """Create the repository if need be and commit the export; the URL of the commit.

    Args:
        record: what `export.json` says.
        endpoint: another server than that of HF_ENDPOINT or the hub.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    folder = normalise(destination)
    paths = [file.path for file in record.files] + [EXPORT_RECORD]
    files = [CommitOperationAdd(path, Path(join(folder, path))) for path in paths]
    card = make_card(record, repository, licence=licence, title=title).encode()
    api = HfApi(endpoint=endpoint)
    try:
        api.create_repo(repository, repo_type="dataset", exist_ok=True)
        done = api.create_commit(
            repository,
            [*files, CommitOperationAdd("README.md", card)],
            commit_message=f"Export {plural(record.clips, 'clip')}",
            repo_type="dataset",
        )
    except HFValidationError as error:
        raise UsageError(
            f"`--push-to-hub {repository}` is no repository ({error}); expected OWNER/NAME"
        ) from error
    except LocalTokenNotFoundError as error:
        raise RefusedError(
            f"`{repository}` cannot be written without a token; expected one of the hub; run "
            "`hf auth login`, or set HF_TOKEN"
        ) from error
    except HfHubHTTPError as error:
        refused = error.response.status_code in (401, 403)
        raise (RefusedError if refused else StorageError)(
            f"`{repository}` could not be written ({error}); expected a token that may write "
            f"there; the export in `{folder}` is whole: the same command pushes it again"
        ) from error
    return str(done.commit_url)


def make_card(record: ExportRecord, repository: str, *, licence: str, title: str) -> str:
    """The card as Markdown, with the header by which `load_dataset` finds the splits."""
    from huggingface_hub import DatasetCard, DatasetCardData

    filled = {name: split for name, split in record.splits.items() if split.clips}
    data_files = [{"split": name, "path": f"{name}/*.parquet"} for name in filled]
    header = DatasetCardData(
        license=licence,
        pretty_name=title,
        task_categories=["text-to-speech"],
        size_categories=[size_category(record.clips)],
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    sizes = sorted(set(record.codebook_sizes))
    body = _CARD.format(
        title=title,
        repository=repository,
        hours=record.seconds / 3600,
        clips=plural(record.clips, "clip"),
        codec=record.identity["codec"],
        num_codebooks=record.num_codebooks,
        books=plural(record.num_codebooks, "codebook"),
        sizes=" or ".join(f"{size:,}" for size in sizes),
        rate_hz=record.frame_rate_hz,
        splits=", ".join(f"{name} {plural(split.clips, 'clip')}" for name, split in filled.items()),
        first=next(iter(filled)),
    )
    return str(DatasetCard(f"---\n{header.to_yaml()}\n---\n{body}"))
