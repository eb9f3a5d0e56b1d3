"""Text to ids by the `tokenizer.json` of the model that is trained."""

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError, UsageError
from pipeline.export.contract import Target


class TextTokens:
    """The tokenizer of `--tokenizer`."""

    def __init__(self, target: Target, needed_by: str) -> None:
        from tokenizers import Tokenizer

        self._file = target.options.tokenizer
        if target.tokenizer_json is None:
            raise UsageError(
                f"`{needed_by}` needs the ids of text, but `--tokenizer` is missing; expected the "
                "`tokenizer.json` of the model that you train; download it and pass its path"
            )
        try:
            self._tokenizer: Any = Tokenizer.from_str(target.tokenizer_json.decode())
        except Exception as error:  # the package raises nothing more precise
            raise InputError(
                f"`--tokenizer {self._file}` cannot be read ({error}); expected the "
                "`tokenizer.json` of a model; pass that file"
            ) from error

    def ids(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def add(self, tokens: Sequence[str]) -> None:
        """Add tokens that are not there yet, as a trainer does before it starts."""
        self._tokenizer.add_special_tokens(list(tokens))

    def find(self, token: str) -> int | None:
        """The id of one token, if there is such."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def id_of(self, token: str) -> int:
        """The id of one token."""
        found = self.find(token)
        if found is None:
            raise UsageError(
                f"`--tokenizer {self._file}` has no token `{token}`; expected the tokenizer of the "
                "model that the template is for; pass its `tokenizer.json`"
            )
        return found

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))
