"""Faults planted in real data are found, and no error is in clean ones: what `benchmarks/spoiled.py` prints."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "spoiled.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def spoiled(real_dataset, monkeypatch):
    real_dataset("titanic")
    if not BENCHMARK.exists():
        pytest.skip("benchmarks/ is not here")
    spec = importlib.util.spec_from_file_location("spoiled", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "spoiled", module)
    spec.loader.exec_module(module)
    return module


def test_every_planted_fault_is_found(spoiled, tmp_path):
    every = spoiled.spoiled(tmp_path)
    missed = [(v.dataset, v.expected) for v, found in every if v.expected not in spoiled.names_of(found)]
    assert missed == []
    assert len(spoiled.VARIANTS) >= 40


def test_clean_data_have_no_errors_and_few_warnings(spoiled, tmp_path):
    found = {name: findings for name, findings, _ in spoiled.clean(tmp_path)}
    assert [f for findings in found.values() for f in findings if f.severity == "error"] == []
    assert max(len(findings) for findings in found.values()) <= 5
    assert sum(not findings for findings in found.values()) >= len(found) / 2
