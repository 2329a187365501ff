"""Film reviews: a published network for them as a comparator, and a search over text architectures beside it.

`jobs/make_imdb.py` makes the file of reviews.

orchestrator run jobs/imdb_text.py --set data.path=reviews.parquet        or        python jobs/imdb_text.py
"""

import orchestrator
from orchestrator import Comparator, Data, Job, Range, Search, Test, Validation

job = Job(
    name="imdb-text",
    # The official split. What else the file may hold, the stars that the label was made of among it, is not looked at.
    data=Data(
        "data/imdb_reviews.parquet",
        target="label",
        features=["text"],
        text=["text"],
        task="classification",
        test=Test(column="split", value="test"),
    ),
    validation=Validation(kind="holdout", fraction=0.2),
    metric="accuracy",
    seed=42,
    searches=(
        Search(
            "text",
            trials=48,
            batch_size=16,
            space={
                "encoder": "average",
                "vocabulary": 20_000,
                "length": [200, 400],
                "pooling": "masked",
                "embedding_width": 16,
                "width_1": [16, 32, 64],
                "activation": ["relu", "tanh"],
                "dropout": Range(0.0, 0.6),
                "optimizer": ["adam", "rmsprop"],
                "learning_rate": Range(5e-4, 1e-2, log=True),
                "schedule": ["constant", "cosine"],
                "weight_decay": Range(1e-6, 1e-2, log=True),
                "label_smoothing": [0.0, 0.1],
                "batch_size": 128,
                "epochs": 12,
                "patience": 3,
            },
        ),
    ),
    # Named beforehand, scored on the test rows with the winner, never chosen.
    comparators=(
        Comparator(
            "text",
            {
                "encoder": "average",
                "vocabulary": 10_000,
                "length": 200,
                "truncate": "head",
                "pooling": "average",
                "embedding_width": 16,
                "width_1": 16,
                "activation": "relu",
                "optimizer": "adam",
                "learning_rate": 0.001,
                "batch_size": 512,
                "epochs": 10,
                "patience": "none",
            },
            name="published",
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
