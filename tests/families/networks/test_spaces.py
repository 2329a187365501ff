"""What a space of networks means where it leaves things out."""

from builders import columns, job_values, write

from orchestrator import job as jobs
from orchestrator import runs
from orchestrator.families.networks.mlp import MLP
from orchestrator.families.networks.parameters import with_parents


def parents(space):
    family = MLP()
    return with_parents(family.table("classification"), family.conditions, space)


def test_a_width_without_a_depth_is_that_of_the_default_depth():
    assert parents({"width_1": [16]}) == {"width_1": [16], "depth": [2]}
    assert parents({"width_2": [16], "depth": [1, 2]}) == {"width_2": [16], "depth": [1, 2]}


def test_what_means_nothing_under_a_default_brings_no_parent():
    assert parents({"frequency_scale": [0.1]}) == {"frequency_scale": [0.1]}
    assert parents({"width_3": [16], "epochs": [2]}) == {"width_3": [16], "epochs": [2]}


def test_a_search_that_names_widths_alone_trains(tmp_path):
    write(tmp_path / "data.parquet", columns(60))
    space = {"width_1": [8, 16], "epochs": 1}
    searches = [{"family": "mlp", "sampler": "grid", "space": space}]
    values = job_values(data__path=str(tmp_path / "data.parquet"), searches=searches, validation={"folds": 2})
    result = runs.run(jobs.from_dict(values), tmp_path / "run", executor="inline")
    rows = [row for row in result.leaderboard.rows if row.family == "mlp"]
    assert [row.state for row in rows] == ["completed", "completed"]
    assert {row.params["width_1"] for row in rows} == {8, 16}
