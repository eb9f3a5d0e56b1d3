"""How many threads torch uses in one operation, set for one thread of a worker at a time."""


def set_torch_threads(count: int) -> None:
    """Set how many threads one operation of torch uses in the calling thread."""
    import torch

    torch.set_num_threads(count)
    # Reading the count fixes it for this thread: settings of other threads no longer change it.
    torch.get_num_threads()
