"""The bundled digits, 8 x 8 pixels: neighbours, dense networks and convolutional ones on one leaderboard.

orchestrator run jobs/digits_mixed.py        or        python jobs/digits_mixed.py
"""

import orchestrator
from orchestrator import Data, Job, Range, Search, Validation

job = Job(
    name="digits-mixed",
    data=Data("dataset:digits", target="label"),
    validation=Validation(kind="stratified", folds=3),
    metric="accuracy",
    seed=42,
    searches=(
        Search(
            "knn",
            sampler="grid",
            space={
                "n_neighbors": Range(1, 15),
                "weights": ["uniform", "distance"],
                "metric": ["euclidean", "manhattan"],
                "scaler": ["none", "standard"],
            },
        ),
        Search(
            "mlp",
            sampler="random",
            trials=16,
            space={
                "depth": [1, 2],
                "width_1": [64, 128],
                "width_2": [64, 128],
                "normalization": ["none", "batch"],
                "dropout": Range(0.0, 0.4),
                "learning_rate": Range(1e-3, 1e-2, log=True),
                "batch_size": 32,
                "epochs": 20,
            },
        ),
        # Convolutions train one network after another: few trials, of one structure.
        Search(
            "image",
            sampler="random",
            trials=4,
            space={
                "blocks": 2,
                "filters_1": 16,
                "filters_2": 32,
                "width_1": 64,
                "normalization": "batch",
                "dropout": Range(0.1, 0.4),
                "learning_rate": Range(1e-3, 6e-3, log=True),
                "schedule": "cosine",
                "batch_size": 32,
                "epochs": 20,
            },
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
