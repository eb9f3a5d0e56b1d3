"""Which codec a run uses, as plain data: the run sends it to its workers, and they load it."""

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass

from pipeline.errors import IdentityError, UsageError
from pipeline.storage.location import redact
from pipeline.worker.staged_codec import StagedCodec

if TYPE_CHECKING:
    from xy_codec.contract import Codec, CodecIdentity, Option

Precision = Literal["exact", "fast"]
logger = logging.getLogger(__name__)


def _as_words(options: object) -> object:
    """A mapping of options as `name=value`; anything else as it is."""
    if not isinstance(options, Mapping):
        return options
    return _words(options)


def _words(options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"{name}={json.dumps(value)}" for name, value in options.items())


@dataclass(frozen=True, slots=True)
class CodecRequest:
    """The arguments of `load_codec`.

    Attributes:
        source: a released checkpoint (name, path, URL, repository), or `xy-nano` for a trial.
        config: the codec's configuration, where it does not lie beside the weights.
        precision: `exact` gives the codes of the reference, `fast` uses half precision.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        options: the codec's own, e.g. `depth=4`, one each; `xytok codecs` lists their names. In
            Python a mapping, too.
        compiled: compile the encoder first, which takes minutes; not yet proven on a GPU.
        staged: where the run put the files of a repository, for its workers.
    """

    source: str
    config: str | None = None
    precision: Precision = "exact"
    device: str = "auto"
    options: Annotated[tuple[str, ...], BeforeValidator(_as_words)] = ()
    compiled: bool = False
    staged: StagedCodec | None = None

    @classmethod
    def recorded(
        cls,
        codec: Mapping[str, Any],
        notes: Mapping[str, Any],
        *,
        source: str | None = None,
        config: str | None = None,
        precision: Precision | None = None,
        device: str = "auto",
    ) -> Self:
        """The codec of a finished run again.

        Args:
            codec: its identity in `run.json`.
            notes: the provenance in `run.json`, which says where the run had the codec.
            source: where the codec is now, if not there.
            config: its configuration, if that does not lie beside it.
            precision: another one than the run's.
        """
        # Format 1 knew the overlap of windows alone.
        options = codec.get("options", {"overlap_seconds": codec.get("overlap_seconds", 10.0)})
        return cls(
            source=source or notes.get("codec_source") or str(codec["name"]),
            config=config or (None if source else notes.get("codec_config")),
            precision=precision or codec["precision"],
            device=device,
            options=_words(options),
            compiled=str(codec.get("pack_geometry", "")).endswith("-compiled"),
        )

    def urls(self) -> list[str]:
        """The fields that may be URLs, to be checked for secrets."""
        return [each for each in (self.source, self.config) if each]

    def chosen_options(self) -> "dict[str, Option]":
        """The options by name, their values as numbers or truth values where they are such."""
        import yaml

        chosen: dict[str, Option] = {}
        for option in self.options:
            name, equals, value = option.partition("=")
            parsed = yaml.safe_load(value) if equals and value else None
            if not name or not isinstance(parsed, str | int | float | bool):
                raise UsageError(
                    f"`--codec-option {option}` is no option; expected a name and a value; write "
                    "for example `--codec-option depth=4`"
                )
            if name in chosen:
                raise UsageError(
                    f"`--codec-option {name}` is given twice, as {chosen[name]} and {parsed}; "
                    "expected one value; leave one out"
                )
            chosen[name] = parsed
        return chosen

    def check(self, *, may_be_elsewhere: bool = False) -> None:
        """Refuse names and options that cannot be meant, before anything is listed or started.

        `may_be_elsewhere` says that absolute paths may be those of other machines.
        """
        from xy_codec.catalogue import Wish
        from xy_codec.loading import check_codec, release_like

        wish = Wish(self.precision, self.device, self.compiled, self.chosen_options())
        config = self.config
        if may_be_elsewhere:
            if self.source.startswith("/"):
                return
            config = None if config and config.startswith("/") else config
        check_codec(self.source, config, wish)
        close = release_like(self.source)
        if close is not None:
            logger.warning(
                "`%s` is no release that xytok knows; the one most like it is `%s`",
                *(self.source, close),
            )

    def load(self) -> "Codec":
        """Load the codec in this process."""
        logger.info("Loading the codec `%s`, precision `%s`", redact(self.source), self.precision)
        from xy_codec import load_codec

        return load_codec(
            self.source,
            config=self.config,
            precision=self.precision,
            device=self.device,
            options=self.chosen_options(),
            compiled=self.compiled,
            files_at=self.staged.fetch() if self.staged else None,
        )


def check_checkpoint(codec: "CodecIdentity", recorded: Mapping[str, Any], output: str) -> None:
    """Refuse a codec with another checkpoint than the one that made the codes of an output.

    Args:
        recorded: the identity of the codec in the output's `run.json`.
    """
    if codec.checkpoint_sha256 != recorded["checkpoint_sha256"]:
        raise IdentityError(
            f"Codec `{codec.name}` has checkpoint `{codec.checkpoint_sha256[:12]}`, output "
            f"`{redact(output)}` was made with `{recorded['name']}`, "
            f"`{recorded['checkpoint_sha256'][:12]}`; expected the same; pass it as `--codec`"
        )
