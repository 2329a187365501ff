"""Exported models read null in place of the values that their job lists as missing, as the model itself does."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import columns, write
from test_export import assert_equal, by_onnx, by_tensorflow

from orchestrator.results.export import export
from orchestrator.results.model import Model

N = 120
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


@pytest.mark.parametrize(("kind", "by"), [("onnx", by_onnx), ("savedmodel", by_tensorflow)])
@pytest.mark.parametrize("family", ["knn", "mlp"])
def test_exports_read_what_the_job_lists_as_missing(family, kind, by, folder, make_job, cli):
    generator = np.random.default_rng(0)
    colour = pa.array(generator.choice(["?", "red", "green"], N))
    size = generator.choice([-999.0, 1.5, 2.5, 3.5], N)
    write(folder / "data.parquet", columns(N, colour=colour, size=size))
    space = {"n_neighbors": [3]} if family == "knn" else {"epochs": [2], "width_1": [8], "depth": [1]}
    search = {"family": family, "space": space, "sampler": "grid"}
    assert cli("run", make_job(data__missing=["?", -999], searches=[search]), "--out", "run").code == 0
    model, out = Model.load(folder / "run" / "best"), folder / ("model.onnx" if kind == "onnx" else "model")
    assert [column.missing for column in model.signature.columns] == [(-999,), (-999,), ("?",), (-999,)]
    export(folder / "run" / "best", kind, out)
    table = pq.read_table(folder / "data.parquet")
    assert_equal(by(out, table), model, table)
