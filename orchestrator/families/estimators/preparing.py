"""What an estimator is fitted on: the shared preparation, or rows whose nulls and categories the model reads itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from orchestrator.data.columns import Column, flat
from orchestrator.data.prepare import preparation
from orchestrator.data.recipe import Recipe
from orchestrator.data.texts import FromFeatures, numbers_of, text_columns


@dataclass(frozen=True, slots=True)
class Preparing:
    """How rows become a matrix.

    Attributes:
        recipe: The preparation's parameters.
        most_categories: None for the shared preparation. Else numbers and booleans stay as they are, nulls too, and so
            do the codes of columns with at most so many categories; only text and columns with more are prepared.
    """

    recipe: Recipe
    most_categories: int | None = None

    @property
    def id(self) -> str:
        """What units call it."""
        return self.recipe.id if self.most_categories is None else f"as-is{self.most_categories}"

    def steps(
        self, columns: Sequence[Column], n_classes: int, seed: int, *, impute_all: bool = True
    ) -> list[tuple[str, Any]]:
        """Return the unfitted steps over what `prepare.input_of` gives, see `prepare.preparation`."""
        if self.most_categories is None:
            return preparation(columns, self.recipe, n_classes, seed, impute_all=impute_all)
        steps: list[tuple[str, Any]] = []
        if texts := text_columns(columns):
            steps.append(("texts", FromFeatures(tuple(c.name for c in texts), self.recipe.text, seed)))
        made, many = self._made(columns), self._many(columns)
        if many:
            chosen = [made[i] for i in many]
            prepared = Pipeline(preparation(chosen, self.recipe, n_classes, seed, impute_all=impute_all))
            kept = [i for i in range(len(made)) if i not in many]
            steps.append(("columns", ColumnTransformer([("as_is", "passthrough", kept), ("many", prepared, many)])))
        return steps

    def codes(self, columns: Sequence[Column]) -> list[int]:
        """Return the columns of the prepared matrix that hold codes of categories."""
        if self.most_categories is None:
            return []
        made, many = self._made(columns), self._many(columns)
        kept = [column for i, column in enumerate(made) if i not in many]
        return [i for i, column in enumerate(kept) if column.kind == "category"]

    def _made(self, columns: Sequence[Column]) -> list[Column]:
        return [*flat(columns), *numbers_of(columns)]

    def _many(self, columns: Sequence[Column]) -> list[int]:
        most, made = self.most_categories or 0, self._made(columns)
        return [i for i, c in enumerate(made) if c.kind == "category" and len(c.categories) + c.has_nulls > most]
