"""Workers fit the nodes: one per GPU, else one per node; what cannot fit is refused at once."""

import pytest
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.worker_count import FleetSize, NodeSize, check_fits, fleet_size

LAPTOP = [NodeSize("a", 8, 0)]
BOX = [NodeSize("a", 128, 8)]


def test_a_laptop_gets_one_worker_with_all_cores() -> None:
    assert fleet_size(LAPTOP, RayOptions()) == FleetSize(0, 8, 1)


def test_several_workers_share_the_cores_of_a_laptop() -> None:
    assert fleet_size(LAPTOP, RayOptions(workers=4)) == FleetSize(0, 2, 4)


def test_a_box_gets_one_worker_per_gpu_and_ten_cores_for_each_at_most() -> None:
    assert fleet_size(BOX, RayOptions()) == FleetSize(1, 10, 8)


def test_scarce_cores_are_shared_by_the_gpus() -> None:
    assert fleet_size([NodeSize("a", 16, 8)], RayOptions()) == FleetSize(1, 2, 8)


def test_nodes_without_gpus_get_no_worker_where_there_are_gpus() -> None:
    assert fleet_size([*BOX, *LAPTOP], RayOptions()).num_workers == 8


def test_two_workers_may_share_a_gpu() -> None:
    assert fleet_size(BOX, RayOptions(gpus_per_worker=0.5)).num_workers == 16


@pytest.mark.parametrize(
    ("share", "workers"), [(0.1, 80), (0.2, 40), (0.3, 24), (0.4, 16), (0.7, 8), (3, 2)]
)
def test_a_share_of_a_gpu_is_counted_exactly_and_lies_on_one_gpu(
    share: float, workers: int
) -> None:
    assert fleet_size(BOX, RayOptions(gpus_per_worker=share)).num_workers == workers


def test_a_share_of_a_cpu_is_counted_exactly() -> None:
    assert fleet_size([NodeSize("a", 1, 0)], RayOptions(cpus_per_worker=0.1)).num_workers == 10


def test_workers_ask_for_an_equal_share_of_little_memory() -> None:
    nodes = [NodeSize("a", 4, 0, memory_bytes=8 << 30), NodeSize("b", 4, 0, memory_bytes=6 << 30)]
    size = fleet_size(nodes, RayOptions(cpus_per_worker=1))
    assert size.memory_bytes_per_worker == 6 << 28
    assert size.num_workers == 8


def test_the_gpus_of_a_node_share_its_cores_alone() -> None:
    nodes = [NodeSize("a", 12, 1), NodeSize("b", 40, 2)]
    assert fleet_size(nodes, RayOptions(gpus_per_worker=0.4)) == FleetSize(0.4, 6, 6)


def test_more_than_a_gpu_is_given_whole() -> None:
    with pytest.raises(ValidationError, match="only whole GPUs"):
        RayOptions(gpus_per_worker=1.5)


def test_a_worker_that_fits_nowhere_is_refused() -> None:
    size = fleet_size(LAPTOP, RayOptions(cpus_per_worker=16))
    with pytest.raises(UsageError, match="fits on no node"):
        check_fits(size, LAPTOP)


def test_wrong_options_are_named_together() -> None:
    with pytest.raises(ValidationError) as refused:
        RayOptions(workers=0, cpus_per_worker=-1, gpus_per_worker=-2)
    assert refused.value.error_count() == 3
