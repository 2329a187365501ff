"""A job for a cluster that is tested: many small units of neighbours, and networks that train for some seconds."""

import orchestrator
from orchestrator import Data, Job, Range, Search, Validation

job = Job(
    name="mixed",
    data=Data("dataset:digits", target="label"),
    validation=Validation(kind="stratified", folds=2),
    searches=(
        Search("knn", sampler="grid", space={"n_neighbors": Range(1, 12), "scaler": ["none", "standard"]}),
        Search(
            "mlp",
            sampler="random",
            trials=24,
            batch_size=8,
            space={
                "depth": 1,
                "width_1": [32, 64],
                "normalization": "none",
                "dropout": Range(0.0, 0.3),
                "learning_rate": Range(1e-3, 1e-2, log=True),
                "batch_size": 32,
                "epochs": 12,
                "patience": "none",
            },
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
