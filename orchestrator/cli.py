"""The command line: the verbs, and all that is printed. Data goes to stdout, progress and remarks to stderr."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import JobError, OrchestratorError, RunError
from orchestrator.version import __version__

if TYPE_CHECKING:
    from orchestrator.compose import Prepared
    from orchestrator.data.checks import Finding
    from orchestrator.job import Job
    from orchestrator.runs import Result
    from orchestrator.scoring import Predicted

TOP = 10
Verb = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like the others'."""

    def error(self, message: str) -> NoReturn:
        raise JobError(f"{message}. See `{self.prog} --help`")


def entry(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code."""
    argv = _words(arguments)
    code = _guarded(lambda words: _parser().parse_args(words), argv)
    return _told(code, argv) if argv[:1] in (["run"], ["resume"], ["predict"]) else code


def main(job: Job, arguments: Sequence[str] | None = None) -> int:
    """Run a job file's own job with the options of `run`; return the exit code.

    A job file ends with `if __name__ == "__main__": raise SystemExit(orchestrator.main(job))`.
    """
    parser = _Parser(description=f"Run the job {job.name!r}.")
    _run_options(parser)
    script = getattr(sys.modules["__main__"], "__file__", None)
    folder = Path(script).resolve().parent if script else Path.cwd()
    parser.set_defaults(verb=lambda options: _run_job(job, folder, options))
    argv = _words(arguments)
    return _told(_guarded(parser.parse_args, argv), argv)


def _words(arguments: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if arguments is None else arguments)


def _told(code: int, argv: Sequence[str]) -> int:
    """Say the exit code of a run on a cluster that failed: what Ray's launcher passes on is only that it was not 0."""
    is_on_cluster = os.environ.get("RAY_ADDRESS") or any(word.partition("=")[0] == "--address" for word in argv)
    if code and is_on_cluster:
        _say(f"exit code {code}")
    return code


def _guarded(parse: Callable[[Sequence[str]], argparse.Namespace], argv: Sequence[str]) -> int:
    debug = "--debug" in argv
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = parse(argv)
        verb: Verb = options.verb
        return verb(options)
    except OrchestratorError as error:
        if debug:
            traceback.print_exc()
        _say(f"{'' if error.exit_code == 130 else 'error: '}{' '.join(str(error).splitlines())}")
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # what reads us has gone; there is nobody to tell
        return 0
    except KeyboardInterrupt:
        _say("interrupted before anything was trained")
        return 130
    except Exception as error:  # noqa: BLE001  the border: a user reads a sentence, --debug shows the rest
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.strerror:
            place = error.filename or "a file of the run"
            _say(f"error: {place} cannot be used: {error.strerror}; mend that, then run or resume")
        else:
            what = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            _say(f"error: {what}. This is a fault of the orchestrator; --debug shows where")
        return 1


def _say(text: str) -> None:
    from orchestrator.progress import say

    say(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="orchestrator",
        description="Search for the best model of a Parquet dataset, on one machine or a Ray cluster.",
    )
    parser.add_argument("--version", action="version", version=f"orchestrator {__version__}")
    verbs = parser.add_subparsers(dest="verb_name", metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str, does: Verb, help_text: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=help_text, description=help_text)
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
        one.set_defaults(verb=does)
        return one

    init = verb("init", _init, "look at a dataset and write a commented job for it")
    init.add_argument("data", metavar="DATA", help="a Parquet file, directory or glob")
    init.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    init.add_argument("--out", metavar="FILE", help="where to write the job; NAME.yaml by default, - for stdout")
    run = verb("run", _run, "run a job: search, refit the winner, score the test rows once")
    run.add_argument("job", metavar="JOB", help="a .py file that defines `job`, or a .yaml file")
    _run_options(run, debug=False)
    for name, does, text in (
        ("plan", _plan, "show what a job would do: trials, work units, memory and time; trains nothing"),
        ("check", _check, "check a job and its data; trains nothing"),
    ):
        one = verb(name, does, text)
        one.add_argument("job", metavar="JOB", help="a .py file that defines `job`, or a .yaml file")
        one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the job")
        if name == "check":
            one.add_argument("--format", default="text", choices=("text", "json"), help="text by default")
    resume = verb("resume", _resume, "go on with a run, or extend it with a larger budget or a wider space")
    resume.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    resume.add_argument("--force", action="store_true", help="open the test rows again for a new best trial")
    _run_options(resume, out=False, debug=False)
    status = verb("status", _status, "how far a run is, and what failed")
    status.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    board = verb("leaderboard", _leaderboard, "print a run's leaderboard")
    board.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    board.add_argument(
        "--pareto", choices=("model_size", "predict_time"), help="only the trials that none beats in score and in this"
    )
    board.add_argument("--top", type=_positive, metavar="N", help="only the first N rows")
    board.add_argument("--format", default="table", choices=("table", "json", "csv", "md"), help="table by default")
    outer = verb(
        "nested", _nested, "run a job's whole search once for each outer fold: what the search itself is worth"
    )
    outer.add_argument("job", metavar="JOB", help="a .py file that defines `job`, or a .yaml file")
    outer.add_argument("--folds", type=_positive, default=5, metavar="K", help="outer folds; 5 by default")
    _run_options(outer, debug=False)
    again = verb("replay", _replay, "train one trial of a run again and compare its score with the recorded one")
    again.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    again.add_argument("trial", metavar="TRIAL", help="the trial, as the leaderboard calls it: SEARCH/NUMBER")
    _where_options(again)
    two = verb("compare", _compare, "show two runs on the same data side by side, and whether one is better")
    for place in ("first", "second"):
        two.add_argument(place, metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    tracked = verb("mlflow", _mlflow, "log a finished run to MLflow, its trials as children")
    tracked.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    tracked.add_argument("--tracking-uri", metavar="URI", help="MLFLOW_TRACKING_URI by default")
    tracked.add_argument("--experiment", metavar="NAME", help="the job's name by default")
    anew = verb("retrain", _retrain, "run a run's job on new data, its best trials first, beside its old model")
    anew.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    anew.add_argument("data", metavar="DATA", help="the new dataset, as a job's data.path")
    _run_options(anew, debug=False)
    predict = verb("predict", _predict, "predict for a Parquet dataset of any size with a run's best model")
    predict.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    predict.add_argument("data", metavar="DATA", help="a Parquet file, directory, glob or URI")
    predict.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a directory of Parquet parts, which the same command goes on with; one file where it ends in .parquet",
    )
    predict.add_argument(
        "--keys",
        type=_names,
        metavar="A,B",
        help="columns of DATA to hand on; all that are no features by default, none with ''",
    )
    predict.add_argument("--drift", action="store_true", help="compare DATA with the training rows; exit 3 if far off")
    predict.add_argument(
        "--drift-limit",
        type=_limit,
        default=0.25,
        metavar="PSI",
        help="the population stability index above which a column has drifted; 0.25 by default",
    )
    predict.add_argument(
        "--batch-rows", type=_positive, metavar="N", help="rows in a worker's memory; as many as take 64 MiB by default"
    )
    _where_options(predict)
    export = verb("export", _export, "write a run's model as a folder, an ONNX file or a TensorFlow SavedModel")
    export.add_argument("run", metavar="RUN", help="a run, its name, URI or `latest`, or the folder or URI of a model")
    export.add_argument("--format", required=True, choices=("native", "onnx", "savedmodel"), help="what to write")
    export.add_argument("--out", required=True, metavar="PATH", help="where to; it must not exist, NAME.onnx for onnx")
    export.add_argument("--sample", metavar="FILE", help="rows to check it on; those that the run kept by default")
    report = verb("report", _report, "write a run's report: one HTML file that needs nothing else, or a model card")
    report.add_argument("run", metavar="RUN", help="a run directory or its URI, a name in runs/, or `latest`")
    report.add_argument("--out", metavar="FILE", help="where to write it; into the run directory by default")
    report.add_argument("--format", default="html", choices=("html", "md"), help="md is a model card; html by default")
    verb("schema", _schema, "print the JSON Schema of a job file")
    return parser


def _run_options(parser: argparse.ArgumentParser, *, out: bool = True, debug: bool = True) -> None:
    if out:
        parser.add_argument(
            "--out", metavar="DIR", help="the run directory or its URI; a new one below runs/ by default"
        )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the job")
    _where_options(parser)
    if debug:
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _where_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", metavar="ADDR", help="a Ray cluster; RAY_ADDRESS, else this machine, by default")
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray", help="ray by default")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, found {text!r}")
    return int(text)


def _limit(text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, found {text!r}")
    return limit


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _loaded(options: argparse.Namespace) -> tuple[Job, Path]:
    from orchestrator.jobfile import read_job

    return read_job(Path(options.job), options.set)


def _run(options: argparse.Namespace) -> int:
    job, folder = _loaded(options)
    return _run_job(job, folder, argparse.Namespace(**{**vars(options), "set": []}))


def _run_job(job: Job, folder: Path, options: argparse.Namespace) -> int:
    from orchestrator import job as jobs
    from orchestrator import rundir, runs

    if options.set:
        job = jobs.from_dict(jobs.as_written(job), "the job", options.set)
    remark = rundir.home()[1] if options.out is None else None
    if remark:
        _say(remark)
    return _shown(partial(runs.run, job, options.out, base=folder), options)


def _resume(options: argparse.Namespace) -> int:
    from orchestrator import rundir, runs

    return _shown(partial(runs.resume, rundir.find(options.run), options.set, force=options.force), options)


def _shown(call: Callable[..., Result], options: argparse.Namespace) -> int:
    """Make the call that runs or resumes, show how it goes, and print what it gave."""
    from orchestrator.progress import shown

    with shown() as progress:

        def on_start(path: Path, prepared: Prepared) -> None:
            _introduce(path, prepared)
            progress.start()

        result = call(
            executor=options.executor, address=options.address, on_progress=progress.update, on_start=on_start
        )
    _conclude(result)
    return 0


def _introduce(path: Path, prepared: Prepared) -> None:
    from orchestrator import rundir
    from orchestrator.data.checks import summed_up

    train, test = prepared.data.train, prepared.data.test
    n_test = 0 if test is None else len(test.target)
    _say(
        f"{prepared.job.name}: {train.task} of {prepared.data.signature.target!r}, {len(train.target)} training rows, "
        f"{n_test} sealed test rows, {len(train.columns)} columns, {len(train.folds)} fold"
        f"{'s' if len(train.folds) > 1 else ''}, {train.metric}"
    )
    if train.dependence is not None:
        _say(_splits(prepared))
    if prepared.data.streamed is not None:
        _say(
            f"the rows are more than resources.data_mb: {train.features.nbytes / 1e6:.0f} MB of them go to a file in "
            "the run directory while the run lasts, and networks learn from there"
        )
    for text in summed_up(prepared.data.findings):
        _say(f"warning: {text}")
    if prepared.data.silenced:
        _say(f"silenced by checks.silence: {', '.join(finding.name for finding in prepared.data.silenced)}")
    _say(f"run directory: {rundir.called(path)}")


def _splits(prepared: Prepared) -> str:
    from orchestrator.results import words

    return words.of_splits(prepared.job.data.test, prepared.job.validation, prepared.data.train)


def _conclude(result: Result) -> None:
    from orchestrator import rundir
    from orchestrator.results import leaderboard, words
    from orchestrator.results.threshold import Threshold

    metric, where = result.leaderboard.metric, shlex.quote(rundir.called(result.path))
    print(leaderboard.as_table(result.leaderboard.to_arrow(), metric, TOP))
    rest = len(result.leaderboard) - TOP
    if rest > 0:
        print(f"... and {rest} more: orchestrator leaderboard {where}")
    best = result.leaderboard.best
    assert best is not None
    print(f"\nbest: {best.trial} {leaderboard.params_json(best.params)}")
    if sample := words.of_sample(rundir.read_manifest(result.path)["data"]["rows"]):
        print(sample)
    for line in words.of_board(metric, result.leaderboard, result.sureness.board):
        print(line)
    manifest = rundir.read_manifest(result.path)
    if tuned := manifest.get("threshold"):
        second = manifest["data"]["signature"]["classes"][1]
        print(f"decision threshold: {Threshold(**tuned).sentence(second, leaderboard.plain_score(metric, 0.0)[0])}")
    failed = [row.error for row in result.leaderboard.rows if row.error]
    if failed:
        print(f"{len(failed)} trial{'s' if len(failed) > 1 else ''} failed, first with {failed[0]}")
    if (combined := result.sureness.ensemble) is not None and combined.ahead is not None:
        print(words.of_difference(metric, f"{combined.row.trial} and the best", combined.ahead))
    tested = [(who, one) for who, one in result.sureness.test.items() if one.score is not None]
    if tested:
        name = leaderboard.plain_score(metric, 0.0)[0]
        values = ", ".join(f"{who} {words.score(metric, one.score, one.low, one.high)}" for who, one in tested)
        n_openings = len(manifest["test"]["openings"])
        times = "once" if n_openings <= 1 else f"{n_openings} times, so that they are not unseen any more"
        print(f"{name} on the sealed test rows, opened {times}: {values}")
        for who, one in tested:
            if who != "dummy" and one.behind_best is not None:
                print(words.of_difference(metric, f"best and {who} there", one.behind_best))
    for objective in result.objectives[1:]:
        front = leaderboard.pareto_front(result.leaderboard, objective)
        more = f"orchestrator leaderboard --pareto {objective} {where}"
        print(f"Pareto front of {metric} and {objective}: {len(front)} trials; {more}")
    if result.ending == "time":
        more = "--set budget.time_s=null"
        print(f"the time budget ended the search; go on with: orchestrator resume {where} {more}")
    print(f"model: {rundir.called(result.path, rundir.BEST)}")


def _plan(options: argparse.Namespace) -> int:
    from orchestrator import compose, runs
    from orchestrator import job as jobs
    from orchestrator.data.checks import summed_up
    from orchestrator.needs import needs_of

    job, folder = _loaded(options)
    prepared = compose.prepare(jobs.located(job, folder))
    for text in summed_up(prepared.data.findings):
        _say(f"warning: {text}")
    needs = needs_of(prepared)
    total_s, total_trials = 0.0, 0
    for one in runs.plan(prepared):
        scope = " (first batch; later ones follow from its results)" if one.first_batch else ""
        split = f", cut into {one.n_parts - one.n_units} blocks" if one.n_parts > one.n_units else ""
        print(f"{one.name}: {one.sampler}, {one.n_trials} trials in {one.n_units} work units{split}{scope}")
        total_s += one.cpu_s
        total_trials += one.n_trials
    print(_splits(prepared))
    train = prepared.data.train
    in_file = f", and {needs.on_disk / 1e6:.0f} MB of disk for rows in a file" if needs.on_disk else ""
    print(
        f"in all: {total_trials} trials of {len(train.folds)} folds each; about {_seconds(total_s)} of one core; "
        f"memory: {needs.shared / 1e6:.1f} MB shared a node, about {needs.worker / 1e6:.0f} MB a worker and "
        f"{needs.driver / 1e6:.0f} MB in the driver{in_file}"
    )
    return 0


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _check(options: argparse.Namespace) -> int:
    from orchestrator import runs
    from orchestrator.data.checks import CheckFailed

    job, folder = _loaded(options)
    try:
        prepared, findings = runs.check(job, folder)
    except CheckFailed as failed:
        _print_findings(failed.findings, (), options.format, job.name, is_fit=False)
        return failed.exit_code
    _print_findings(findings, prepared.data.silenced, options.format, job.name, is_fit=True)
    if options.format == "json":
        return 0
    print(_splits(prepared))
    train, test = prepared.data.train, prepared.data.test
    n_test = 0 if test is None else len(test.target)
    print(
        f"{prepared.job.name}: fit to run. {train.task} of {prepared.data.signature.target!r}, {len(train.target)} "
        f"training and {n_test} test rows, {len(train.columns)} columns; data fingerprint {prepared.data.fingerprint}"
    )
    return 0


def _print_findings(
    findings: Sequence[Finding], silenced: Sequence[Finding], form: str, name: str, *, is_fit: bool
) -> None:
    from orchestrator.data.checks import CODES

    if form == "json":
        plain = [
            [{**asdict(f), "silence": f.name, "mend": CODES[f.code].mend} for f in some]
            for some in (findings, silenced)
        ]
        print(json.dumps({"job": name, "fit": is_fit, "findings": plain[0], "silenced": plain[1]}, indent=2))
        return
    for finding in findings:
        key = json.dumps(finding.name, ensure_ascii=False)
        how = f" (checks.silence: [{key}])" if CODES[finding.code].is_silenceable else ""
        print(f"{finding.severity}: {finding.code}: {finding.message}{how}")
    for finding in silenced:
        print(f"silenced {finding.severity}: {finding.code}: {finding.message}")


def _status(options: argparse.Namespace) -> int:
    from orchestrator import ledger, remote, rundir, runs
    from orchestrator.results.leaderboard import plain_score

    path = rundir.find(options.run, whole=False)
    manifest = rundir.read_manifest(path)
    board, states = runs.board_of(path)
    state = manifest["state"]
    if state == "running" and not (ledger.is_held(path / rundir.LEDGER) or remote.is_written(path)):
        state = "killed"
    print(f"run: {rundir.called(path)}\nstate: {state}")
    for one in states:
        expected = "no bound" if one.n_expected == float("inf") else f"{one.n_expected:.0f}"
        failed = f", {one.n_failed} failed" if one.n_failed else ""
        print(f"{one.spec.name}: {len(one.results)} of {expected} trials{failed}")
    if board.best is not None and board.best.score is not None:
        name, value = plain_score(board.metric, board.best.score)
        print(f"best so far: {board.best.trial}, {name} {value:.4f}")
    for row in [row for row in board.rows if row.error][:TOP]:
        print(f"failed: {row.trial}: {row.error}")
    if state in ("killed", "interrupted", "time", "failed"):
        more = " --set budget.time_s=null" if state == "time" else ""
        print(f"go on with: orchestrator resume {shlex.quote(rundir.called(path))}{more}")
    return 0


def _leaderboard(options: argparse.Namespace) -> int:
    from orchestrator import rundir, runs
    from orchestrator.results import leaderboard

    board, _ = runs.board_of(rundir.find(options.run, whole=False))
    table = board.to_arrow()
    if options.pareto:
        table = leaderboard.pareto_front(board, options.pareto).with_sizes()
    text = leaderboard.FORMATS[options.format](table, board.metric, options.top)
    print(text.removesuffix("\n"))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from orchestrator.comparison import compare
    from orchestrator.results import words
    from orchestrator.results.leaderboard import as_text

    found = compare(options.first, options.second)
    rows: list[Sequence[str]] = [words.SIDE]
    for side in (found.first, found.second):
        test = side.sureness.test.get("best") if side.sureness is not None else None
        tested = "-" if test is None else words.score(found.metric, test.score, test.low, test.high)
        statistics = side.sureness.board if side.sureness is not None else None
        rows.append(words.of_side(found.metric, side.name, side.board, statistics, tested, side.search_s))
    print(as_text(rows))
    for what, apart in (("their bests", found.of_bests), ("choosing anew on each draw of rows", found.of_searches)):
        if apart is not None:
            print(words.of_difference(found.metric, what, apart))
    return 0


def _mlflow(options: argparse.Namespace) -> int:
    from orchestrator.tracking import track

    print(f"MLflow run: {track(options.run, options.tracking_uri, options.experiment)}")
    return 0


def _retrain(options: argparse.Namespace) -> int:
    from orchestrator.retraining import retraining

    job = retraining(options.run, options.data, options.set)
    return _run_job(job, Path.cwd(), argparse.Namespace(**{**vars(options), "set": []}))


def _nested(options: argparse.Namespace) -> int:
    from orchestrator.nested import folder_of, nested
    from orchestrator.progress import shown
    from orchestrator.results import leaderboard, words

    if options.folds < 2:
        raise JobError(f"--folds: expected a number from 2 up, found {options.folds}")
    job, base = _loaded(options)
    folder = folder_of(job, options.out)
    with shown() as progress:

        def on_start(path: Path, prepared: Prepared) -> None:
            _introduce(path, prepared)
            progress.start()

        found = nested(
            job,
            options.folds,
            folder,
            executor=options.executor,
            address=options.address,
            on_progress=progress.update,
            on_start=on_start,
            base=base,
        )
    for number, one in enumerate(found.folds):
        scores = (
            f"{words.score(found.metric, one.score)}, in its own validation {words.score(found.metric, one.own_score)}"
        )
        print(f"outer fold {number}: {one.trial} {leaderboard.params_json(one.params)} {scores}")
    name, value = leaderboard.plain_score(found.metric, found.score)
    print(f"{name} of the whole search, on {len(found.folds)} outer folds: {value:.4f} ± {found.score_std:.4f}")
    print(f"runs: {folder}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    from orchestrator.replay import replay

    replayed = replay(options.run, options.trial, executor=options.executor, address=options.address)
    for name, result in (("recorded", replayed.recorded), ("replayed", replayed.found)):
        said = f"score {result.score!r} ± {result.score_std!r}" if result.failure is None else result.failure.code
        print(f"{name}: {result.trial.id} {result.state}, {said}")
    if replayed.is_same:
        print("the same")
        return 0
    changes = f"; versions changed: {', '.join(replayed.changes)}" if replayed.changes else ""
    raise RunError(f"{options.trial} came out otherwise than it was recorded{changes}")


def _predict(options: argparse.Namespace) -> int:
    from orchestrator import progress, scoring

    done = scoring.predict(
        options.run,
        options.data,
        options.out,
        keys=options.keys,
        drift=options.drift,
        drift_limit=options.drift_limit,
        batch_rows=options.batch_rows,
        executor=options.executor,
        address=options.address,
        on_finding=lambda finding: _say(f"warning: {finding.message}"),
        on_progress=progress.parts_shown(),
    )
    kept = f", {done.n_kept} of them kept from before" if done.n_kept else ""
    parts = f" in {done.n_parts} part{'s' if done.n_parts > 1 else ''}{kept}" if done.n_parts else ""
    print(f"predictions of {done.n_rows} rows{parts}: {done.path}")
    if done.drift is None:
        return 0
    print(_drift_table(done))
    if not done.drifted:
        return 0
    far = ", ".join(f"{one.name!r} ({one.psi:.2f})" for one in done.drifted[:5])
    more = f" and {len(done.drifted) - 5} more" if len(done.drifted) > 5 else ""
    _say(
        f"error: {far}{more} drifted from the training rows: found a population stability index above the limit; "
        f"expected at most {done.drift_limit:g} (--drift-limit). The predictions are written"
    )
    return 3


def _drift_table(done: Predicted) -> str:
    head = ("column", "compared by", "psi", "by chance", "ks", "nulls then", "nulls now", "")
    lines: list[tuple[str, ...]] = [head]
    for one in sorted(done.drift or (), key=lambda one: -one.psi):
        numbers = (f"{one.psi:.4f}", f"{one.by_chance:.4f}", "-" if one.ks is None else f"{one.ks:.4f}")
        nulls = tuple(f"{share:.1%}" for share in one.nulls)
        name = one.name if one.name.isprintable() else repr(one.name)
        lines.append((name, one.measure, *numbers, *nulls, "drifted" if one.exceeds(done.drift_limit) else ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(n) for text, n in zip(line, widths, strict=True)).rstrip() for line in lines)


def _export(options: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU rounds by more than exports may differ
    from orchestrator import rundir
    from orchestrator.results.export import export

    done = export(rundir.model_of(options.run), options.format, options.out, options.sample)
    left_out = f"; {done.n_open} more, whose neighbours tie, were left out" if done.n_open else ""
    _say(f"checked on {done.n_rows} rows: it differs from the model by at most {done.difference:.1g}{left_out}")
    print(f"{options.format}: {done.path}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from orchestrator import remote, rundir
    from orchestrator.results import report

    path = rundir.find(options.run)
    out = Path(os.path.expanduser(options.out)).absolute() if options.out else None
    if out is None and (uri := remote.uri_of(path)) is not None:
        raise JobError(f"--out: missing; {uri} is not written to. Say where the report goes, such as --out report.html")
    print(report.write(path, out, form=options.format, with_shap=options.format == "html"))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from orchestrator.job import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _init(options: argparse.Namespace) -> int:
    from orchestrator.jobfile import draft

    name, text = draft(options.data, options.target)
    out = Path(options.out) if options.out else Path(f"{name}.yaml")
    if str(out) == "-":
        print(text, end="")
        return 0
    if out.suffix not in (".yaml", ".yml"):
        raise JobError(f"--out: expected a file that ends in .yaml, found {out}")
    if out.exists():
        raise JobError(f"--out: {out} exists; expected a new file")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"--out: {out} cannot be written: {error.strerror}") from None
    print(f"wrote {out}; run it with: orchestrator run {out}")
    return 0
