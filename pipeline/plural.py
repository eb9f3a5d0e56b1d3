"""A count with its noun, as people write it; everything that prints counts uses it."""


def plural(count: int, noun: str, several: str = "") -> str:
    """`1 shard` or `2,000 shards`; `several` is the plural of nouns that need more than an s."""
    return f"{count:,} {noun if count == 1 else several or f'{noun}s'}"
