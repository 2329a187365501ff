"""Names and values that run as code where a page does not escape them."""

from typing import Any

import numpy as np
import pyarrow as pa

EVIL = "<script>window.hacked = 'column'</script>"
EVIL_VALUES = (
    '"><img src=x onerror="window.hacked=\'value\'">',
    "</script><script>window.hacked = 'ended'</script>",
    "'-window.hacked-' {{ 7 * 7 }} `x` | **b** &amp;",
)


def evil_columns(n_rows: int = 90) -> dict[str, Any]:
    """Return a feature with a hostile name and hostile categories, and a target whose classes are hostile."""
    generator = np.random.default_rng(0)
    y = np.arange(n_rows) % 2
    return {
        EVIL: pa.array([EVIL_VALUES[i] for i in generator.integers(3, size=n_rows)]),
        "a": generator.normal(size=n_rows) + 2 * y,
        "y": pa.array([("<b>no</b>", EVIL_VALUES[0])[i] for i in y]),
    }
