"""Where the winner errs: its confusions and curves for classes, its residuals for numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    classification_report,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from orchestrator.results.report import residuals, words
from orchestrator.results.report.parts import Cell, Figure, Section, Table, cell, shortened
from orchestrator.results.report.predictions import Array, Predictions
from orchestrator.results.report.run import Run
from orchestrator.results.report.scale import Scale
from orchestrator.results.report.svg import Plot

MOST_CLASSES = 30
"""Classes of a confusion matrix; the most frequent ones, the rest together."""
MOST_CURVES = 6
N_BINS = 10
MOST_OPEN = 12
"""Classes of a table that is shown before it is asked for."""


def section(run: Run, out_of_fold: Predictions | None, tested: Predictions | None) -> Section:
    """Return what is drawn of the winner's answers."""
    title = "Where it errs"
    main = out_of_fold or tested
    if main is None:
        why = (
            "Left out: the run keeps no predictions of the winner (resources.predictions_mb is 0, or the run is older)."
        )
        return Section("errors", title, absent=why)
    if run.signature.task == "regression":
        return Section("errors", title, [residuals.sentence(main)], residuals.figures(run, main, tested))
    with_shares = next(
        (one for one in (out_of_fold, tested) if one is not None and one.probabilities is not None), None
    )
    figures = [_confusion(run, main)]
    sentences = [_confusion_sentence(run, main)]
    if with_shares is not None:
        figures += [_roc(run, with_shares), _precision(run, with_shares), _calibration(run, with_shares)]
    else:
        sentences.append("Curves are left out: the metric asks for labels, and no probabilities were kept.")
    return Section("errors", title, sentences, figures, [_by_class(run, main)])


def _confusion_sentence(run: Run, one: Predictions) -> str:
    wrong = one.said != one.truth
    said = f"Of {one.rows}, {int(wrong.sum()):,} {'is' if wrong.sum() == 1 else 'are'} wrong ({wrong.mean():.1%})."
    if not wrong.any():
        return said
    names = run.class_names
    pairs, counts = np.unique(np.stack([one.truth[wrong], one.said[wrong]]), axis=1, return_counts=True)
    worst = int(counts.argmax())
    truth, told = (shortened(names[int(code)], 40) for code in pairs[:, worst])
    return f"{said} Most often {truth} is taken for {told} ({words.counted(int(counts[worst]), 'time')})."


def _confusion(run: Run, one: Predictions) -> Figure:
    names, truth, said = _common(run, one)
    table = confusion_matrix(truth, said, labels=list(range(len(names))))
    n = len(names)
    side = max(20.0, min(56.0, 290 / n))
    keys = tuple(str(i) for i in range(n))
    plot = Plot(Scale(names=keys), Scale(names=keys), is_framed=False)
    labels = [shortened(name, 14) for name in names]
    left = 14 + 6.2 * max(map(len, labels))
    top = 30.0
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    for i in range(n):
        y = top + i * side
        plot.text(left - 6, y + side / 2 + 4, names[i], "tick", "end", 14)
        plot.text(left + (i + 0.5) * side, top + n * side + 15, names[i], "tick", "middle", max(2, int(side / 7)))
        for j in range(n):
            told = f"{names[i]} taken for {names[j]}: {table[i, j]:,} ({shares[i, j]:.1%} of {names[i]})"
            x = left + j * side
            plot.box(x, y, side - 1.5, side - 1.5, "bare", told)
            if table[i, j]:
                plot.box(x, y, side - 1.5, side - 1.5, "cell", told, 0.08 + 0.92 * float(shares[i, j]))
            if side >= 24 and table[i, j]:
                kind = "inside on" if shares[i, j] > 0.5 else "inside"
                plot.text(x + side / 2 - 1, y + side / 2 + 4, f"{table[i, j]:,}", kind, "middle")
    plot.text(left + n * side / 2, top + n * side + 34, "said", "title", "middle")
    plot.text(2, 14, "truth", "title")
    plot.width, plot.height = round(left + n * side + 8), round(top + n * side + 42)
    caption = f"Rows are the truth, shades are shares of a row. From {one.rows}."
    return Figure("Confusion matrix", plot.svg("Confusion matrix"), caption)


def _common(run: Run, one: Predictions) -> tuple[list[str], Array, Array]:
    """Return class names and codes, with the rarest classes put together where there are many."""
    names = run.class_names
    if len(names) <= MOST_CLASSES:
        return names, one.truth, one.said
    frequent = np.argsort(-np.bincount(one.truth, minlength=len(names)), kind="stable")[: MOST_CLASSES - 1]
    kept = np.sort(frequent)
    code = np.full(len(names), len(kept))
    code[kept] = np.arange(len(kept))
    return [*(names[i] for i in kept), f"{len(names) - len(kept)} others"], code[one.truth], code[one.said]


def _by_class(run: Run, one: Predictions) -> Table:
    names = run.class_names
    found = classification_report(
        one.truth, one.said, labels=list(range(len(names))), output_dict=True, zero_division=0.0
    )
    rows = [
        [
            Cell(name),
            cell(int(found[str(code)]["support"])),
            *(cell(float(found[str(code)][key])) for key in ("precision", "recall", "f1-score")),
        ]
        for code, name in enumerate(names)
    ]
    return Table(
        ["class", "rows", "precision", "recall", "F1"],
        rows,
        "By class",
        f"From {one.rows}.",
        is_folded=len(rows) > MOST_OPEN,
    )


def _curves(run: Run, one: Predictions) -> list[tuple[str, Array, Array, str]]:
    """Return which classes get curves: the second of two, else each against the rest, the most frequent ones."""
    assert one.probabilities is not None
    names = run.class_names
    codes = [1] if len(names) == 2 else list(np.argsort(-np.bincount(one.truth, minlength=len(names)), kind="stable"))
    found: list[tuple[str, Array, Array, str]] = []
    for code in codes:
        is_class = one.truth == code
        if is_class.any() and not is_class.all() and len(found) < MOST_CURVES:
            found.append((names[code], is_class, one.probabilities[:, code], f"c{len(found)}"))
    return found


def _told(run: Run, one: Predictions) -> str:
    names = run.class_names
    if len(names) == 2:
        return f"For {shortened(names[1], 40)}. From {one.rows}."
    some = f", the {MOST_CURVES} most frequent classes" if len(names) > MOST_CURVES else ""
    return f"Each class against all others{some}. From {one.rows}."


def _thinned(xs: Array, ys: Array) -> tuple[list[float], list[float]]:
    places = np.linspace(0, len(xs) - 1, min(200, len(xs))).astype(np.int64)
    return xs[places].tolist(), ys[places].tolist()


def _roc(run: Run, one: Predictions) -> Figure:
    plot = Plot(Scale(), Scale(), x_title="false positive rate", y_title="true positive rate", height=310)
    plot.line([0, 1], [0, 1], "rule")
    lines = []
    for name, is_class, share, kind in _curves(run, one):
        false, true, _ = roc_curve(is_class, share)
        told = f"{name}: area {roc_auc_score(is_class, share):.3f}"
        xs, ys = _thinned(false, true)
        plot.line(xs, ys, kind, told)
        lines.append((told, kind))
    _legend(plot, lines, from_foot=True)
    return Figure("ROC curve", plot.svg("ROC curve"), _told(run, one))


def _precision(run: Run, one: Predictions) -> Figure:
    plot = Plot(Scale(), Scale(), x_title="recall", y_title="precision", height=310)
    lines = []
    for name, is_class, share, kind in _curves(run, one):
        precision, recall, _ = precision_recall_curve(is_class, share)
        told = f"{name}: average {average_precision_score(is_class, share):.3f}"
        xs, ys = _thinned(recall, precision)
        plot.line(xs, ys, kind, told)
        lines.append((told, kind))
    _legend(plot, lines, from_foot=True)
    return Figure("Precision and recall", plot.svg("Precision over recall"), _told(run, one))


def _calibration(run: Run, one: Predictions) -> Figure:
    assert one.probabilities is not None
    two = one.probabilities.shape[1] == 2
    share = one.probabilities[:, 1] if two else one.probabilities.max(axis=1)
    hit = one.truth == 1 if two else one.probabilities.argmax(axis=1) == one.truth
    true, mean = calibration_curve(hit, np.clip(share, 0, 1), n_bins=N_BINS, strategy="uniform")
    counts = np.histogram(share, bins=np.linspace(0, 1, N_BINS + 1))[0]
    sizes = counts[counts > 0]
    x_title = (
        f"probability said of {shortened(run.class_names[1], 20)}" if two else "probability said of the likeliest class"
    )
    plot = Plot(Scale(), Scale(), x_title=x_title, y_title="how often it was so", height=310)
    plot.line([0, 1], [0, 1], "rule")
    plot.line(mean, true, "c0")
    tips = [f"said {m:.2f}, was so in {t:.2f} of {n:,} rows" for m, t, n in zip(mean, true, sizes, strict=True)]
    for m, t, n, told in zip(mean, true, sizes, tips, strict=True):
        plot.points([m], [t], [told], "c0", 3 + 6 * float(n / sizes.max()) ** 0.5)
    gap = float(np.average(np.abs(true - mean), weights=sizes))
    caption = f"On the dashed line, what is said is so. Larger dots are more rows. Mean gap {gap:.3f}. From {one.rows}."
    return Figure("Calibration", plot.svg("Calibration"), caption)


def _legend(plot: Plot, lines: Sequence[tuple[str, str]], *, from_foot: bool) -> None:
    foot = plot.height - plot.bottom
    for i, (told, kind) in enumerate(lines):
        y = foot - 10 - 15 * (len(lines) - 1 - i) if from_foot else plot.top + 12 + 15 * i
        plot.text(plot.width - plot.right - 4, y, told, f"halo {kind}", "end", 34)
