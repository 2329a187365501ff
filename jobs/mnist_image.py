"""MNIST, convolutional networks, a few trials halved by epochs: above 0.985 on the official test rows.

The file has a column `image` of 784 bytes a row, `label`, and `split`, which says train or test.

orchestrator run jobs/mnist_image.py --set data.path=mnist.parquet
"""

import orchestrator
from orchestrator import Data, Job, Pruner, Range, Search, Test, Validation

job = Job(
    name="mnist-image",
    data=Data("data/mnist.parquet", target="label", test=Test(column="split", value="test")),
    # The rows are many: one holdout says as much as folds would, for a fifth of the work.
    validation=Validation(kind="holdout", fraction=0.15),
    metric="accuracy",
    seed=42,
    searches=(
        Search(
            "image",
            sampler="random",
            trials=4,
            batch_size=4,
            pruner=Pruner("successive_halving", min_epochs=1, reduction_factor=4),
            space={
                "blocks": 2,
                "filters_1": [16],
                "filters_2": [32],
                "kernel_size": 3,
                "width_1": [64, 128],
                "dropout": Range(0.2, 0.5),
                "optimizer": "adam",
                "learning_rate": Range(7e-4, 3e-3, log=True),
                "schedule": "cosine",
                "batch_size": 64,
                "epochs": 5,
            },
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(orchestrator.main(job))
