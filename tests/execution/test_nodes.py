"""How many units nodes compute at once, those that may come among them; which units are slow; which versions differ."""

import pytest

from orchestrator.execution import versions
from orchestrator.execution.nodes import Demand, Nodes, NodeType, node_types
from orchestrator.execution.stragglers import LEAST_S, SAMPLES, Stragglers

BIG, SMALL, WITH_GPU = {"CPU": 16.0}, {"CPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("demand", "node", "n"),
    [
        (Demand(1), BIG, 16),
        (Demand(3), BIG, 5),
        (Demand(3), SMALL, 0),
        (Demand(1, 0.25), WITH_GPU, 4),
        (Demand(2, 0.25), WITH_GPU, 2),
        (Demand(1, 0.1), {"CPU": 32.0, "GPU": 1.0}, 10),
        (Demand(1, 0.25), BIG, 0),
        (Demand(1), {"memory": 1e9}, 0),
    ],
)
def test_node_has_room_for_as_many_units_as_its_scarcest_resource_allows(demand, node, n):
    assert demand.fits(node) == n


def test_nodes_that_may_come_count_at_most_and_not_now():
    nodes = Nodes([SMALL], [NodeType(BIG, 3), NodeType(WITH_GPU, 2)])
    assert (nodes.n_now(Demand(1)), nodes.n_at_most(Demand(1))) == (2, 3 * 16)  # none with a GPU
    assert (nodes.n_now(Demand(1, 0.5)), nodes.n_at_most(Demand(1, 0.5))) == (0, 4)
    assert Nodes([], [NodeType(WITH_GPU, 2)]).n_at_most(Demand(1)) == 2 * 4
    assert nodes.has("GPU")
    assert not Nodes([SMALL]).has("GPU")
    assert nodes.most("CPU") == 16


CONFIG = """
max_workers: 5
head_node_type: head
available_node_types:
  head: {resources: {CPU: 4}, max_workers: 0}
  cpu: {resources: {CPU: 8}, max_workers: 20}
  gpu: {resources: {CPU: 4, GPU: 1}, min_workers: 0, max_workers: 2}
  unsaid: {resources: {}}
"""


def test_kinds_of_nodes_are_read_from_what_the_launcher_left_on_the_head(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    assert node_types(path) == [NodeType({"CPU": 8}, 5), NodeType({"CPU": 4, "GPU": 1}, 2)]


@pytest.mark.parametrize("content", [None, "", "a: [", "available_node_types: 3", "[1, 2]"])
def test_without_such_a_file_no_kind_is_known(tmp_path, content):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    assert node_types(path) == []


def known(*seconds: float) -> Stragglers:
    """Return what has seen units of cost 1 take so long."""
    made = Stragglers()
    for number, one in enumerate(seconds):
        made.submitted(f"past-{number}", "train", 1.0)
        made.ended(f"past-{number}", one)
    return made


def test_unit_that_takes_far_longer_for_its_cost_than_its_kind_is_tried_once_more():
    units = known(*[10.0] * SAMPLES)
    units.submitted("usual", "train", 3.0)
    units.submitted("slow", "train", 1.0)
    assert units.look(4, 0.0) == []
    assert units.look(4, 19.0) == []
    assert units.look(4, 21.0) == ["slow"]
    assert units.look(4, 59.0) == []  # it has its second attempt
    assert units.look(4, 61.0) == ["usual"]


def test_nothing_is_slow_among_too_few_or_of_another_kind():
    units = known(*[10.0] * (SAMPLES - 1))
    units.submitted("one", "train", 1.0)
    units.submitted("other", "prepare", 1.0)
    units.look(4, 0.0)
    assert units.look(4, 1000.0) == []
    units.ended("one", 10.0)
    assert units.look(4, 1000.0) == []


def test_units_that_are_short_in_any_case_are_never_slow():
    units = known(*[0.01] * SAMPLES)
    units.submitted("one", "train", 1.0)
    units.look(4, 0.0)
    assert units.look(4, LEAST_S) == []
    assert units.look(4, LEAST_S + 0.1) == ["one"]


def test_one_slow_unit_does_not_make_the_next_one_usual():
    units = known(*[10.0] * 20, 500.0)
    units.submitted("one", "train", 1.0)
    units.look(4, 0.0)
    assert units.look(4, 30.0) == ["one"]


def test_slow_units_that_end_a_search_do_not_become_the_usual():
    units = known(*[10.0] * 2000, *[100.0] * 200)  # as many as are remembered
    units.submitted("one", "train", 1.0)
    units.look(4, 0.0)
    assert units.look(4, 30.0) == ["one"]


def test_time_counts_from_when_a_slot_was_free_and_second_attempts_take_idle_slots_alone():
    units = known(*[10.0] * SAMPLES)
    for name in "abc":
        units.submitted(name, "train", 1.0)
    assert units.look(2, 0.0) == []  # c waits
    assert units.look(2, 100.0) == []
    units.ended("a", None)
    assert units.look(2, 100.0) == []  # c begins, and no slot is idle
    units.ended("b", None)
    assert units.look(2, 110.0) == []
    assert units.look(2, 121.0) == ["c"]
    units.submitted("d", "train", 1.0)
    assert units.look(2, 300.0) == []  # both slots have an attempt of c
    units.ended("c", 10.0)
    assert units.look(2, 300.0) == []
    assert units.look(2, 330.0) == ["d"]


def test_versions_that_differ_are_named_with_both_sides():
    here = versions.versions()
    assert versions.differences(here) is None
    other = tuple((name, "0.1" if name in ("numpy", "Python") else value) for name, value in here)
    found = versions.differences(other)
    assert found is not None
    assert f"numpy {dict(here)['numpy']} (the driver has 0.1)" in found
    assert "Python" in found
    assert "ray" not in found
