"""Iris, k nearest neighbours: the textbook's three neighbours as a comparator, and the full grid beside it.

orchestrator run jobs/iris_knn.py        or        python jobs/iris_knn.py
"""

import orchestrator
from orchestrator import Comparator, Data, Job, Range, Search, Test, Validation

job = Job(
    name="iris-knn",
    # The split of the textbook: a fifth of the rows, not stratified, random_state 42 (the seed below).
    data=Data("dataset:iris", target="species", test=Test(fraction=0.2, stratify=False)),
    validation=Validation(kind="stratified", folds=5),
    metric="accuracy",
    seed=42,
    searches=(
        Search(
            "knn",
            sampler="grid",
            space={
                "n_neighbors": Range(1, 50),
                "weights": ["uniform", "distance"],
                "metric": ["euclidean", "manhattan", "chebyshev", "cosine"],
                "scaler": ["none", "standard"],
            },
        ),
    ),
    # Named beforehand, scored on the test rows with the winner, never chosen.
    comparators=(Comparator("knn", {"n_neighbors": 3}, name="textbook-k3"),),
)

if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
