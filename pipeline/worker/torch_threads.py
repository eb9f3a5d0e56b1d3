"""How many threads one operation of torch uses: partly a setting of the calling thread."""


def torch_threads() -> int:
    """How many threads one operation of torch uses in the calling thread."""
    import torch

    return torch.get_num_threads()


def set_torch_threads(count: int) -> None:
    """Set how many threads one operation of torch uses in the calling thread."""
    import torch

    torch.set_num_threads(count)
    # The first look in a thread fixes its count; later settings elsewhere no longer reach it.
    torch.get_num_threads()
