"""An evaluation or a comparison of predictions, written as a report with its metrics and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import ConfigError
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.writing import need_writable, write_json
from skinlesion.evaluation import plots
from skinlesion.evaluation.assessment import PREVALENCE, assess
from skinlesion.evaluation.comparison import Comparison, compare, load_runs, on_shared_images, without_leaked
from skinlesion.evaluation.metrics import NAMES
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.sections import class_table, figures, headline, overall_table, sections, words
from skinlesion.evaluation.training_overlap import Overlap, training_lists, training_overlaps
from skinlesion.report.document import Section, write_document

REPORT = "report.html"

_COLUMNS = ["images", *(NAMES[name] for name in ("sensitivity", "specificity", "ppv", "auroc"))]  # what is printed


def write_evaluation(
    everything: Predictions,
    output: str | Path,
    name: str,
    *,
    referral_threshold: float | None = None,
    prevalence: float = PREVALENCE,
    split: str = "test",
    replicates: int = 2000,
) -> int:
    """Evaluate predictions (one split of them where they name splits), write the results, print a summary.

    Returns the exit status. Raises DataError if there are splits, but not this one, and ConfigError if the prevalence
    is no fraction.
    ``output``: folder for ``metrics.json``, ``report.html`` and ``figures/``; ``name``: what the report calls the
    predictions; ``referral_threshold``: see :func:`skinlesion.evaluation.assessment.assess`; ``prevalence``: fraction
    of malignant lesions in the population that plain words and decision curve speak of.
    """
    need_writable(output)
    if not 0 < prevalence < 1:
        raise ConfigError(f"the prevalence must be a fraction between 0 and 1, not {prevalence:g}")
    found = assess(
        everything, split=split, referral_threshold=referral_threshold, prevalence=prevalence, replicates=replicates
    )
    evaluated, left_out = found.evaluated, len(everything) - len(found.evaluated)
    lead = (
        f"{counted(len(evaluated), 'image')} of {counted(found.metrics['n_lesions'], 'lesion')}"
        f"{f' of the {split} split' if everything.has_splits else ''}"
        + (f"; {left_out:,} of other splits left out" if left_out else "")
        + f". In brackets: {found.metrics['interval']}."
    )
    run = Run(output)
    pictures = {
        key: (plots.write(figure, alt, run.figures / f"{key}.png"), alt, figure.caption)
        for key, (figure, alt) in figures(found).items()
    }
    write_document(
        run.folder / REPORT, f"Evaluation of {name}", lead, sections(found, pictures, prevalence), found.notes
    )
    write_json(run.metrics, found.to_dict())
    overall, by_class = overall_table(found.metrics).squeeze(), class_table(found.metrics, digits=3)[_COLUMNS]
    measured = overall[overall != "undefined"].to_string()
    blocks = ["\n".join([lead, *found.notes]), headline(found), measured, by_class.to_string()]
    print(*blocks, "\n".join(words(found, prevalence)), sep="\n\n", end="\n\n")
    print(f"Wrote {run.folder / REPORT}, {run.metrics.name} and {counted(len(pictures), 'figure')}")
    return 0


def compare_files(
    places: Sequence[str],
    labels: str | Path | None,
    output: str | Path,
    shared: bool = False,
    split: str = "test",
    words: Sequence[str] = (),
    training: Sequence[str] = (),
    twins: str | Path | None = None,
) -> int:
    """Compare runs on the same lesions: one table, one figure of paired differences to the first; print the table.

    Raises DataError if there are fewer than two runs, files break the contract, or images, truths or classes differ.
    Raises ConfigError if ``training`` names no run. ``places``, ``labels``, ``split``, ``words``: see
    :func:`skinlesion.evaluation.comparison.load_runs`; ``output``: folder for ``comparison.json``, ``report.html`` and
    ``figures/differences.png``; ``shared``: compare on the images that all runs share, where they differ; ``training``,
    ``twins``: see :func:`skinlesion.evaluation.training_overlap.training_lists` and ``read_groups``.
    """
    need_writable(output)
    runs = load_runs(list(places), labels, split, words)
    runs = on_shared_images(runs) if shared else runs
    overlaps = training_overlaps(runs, training_lists(list(places), training), labels, twins)
    found = compare(runs)
    fresh = without_leaked(runs, overlaps)
    _write_comparison(output, found, compare(fresh) if fresh else None, overlaps)
    return 0


def _write_comparison(
    output: str | Path, found: Comparison, clean: Comparison | None, overlaps: Mapping[str, Overlap]
) -> None:
    """Write and print a comparison, and the same without the lesions that a run was trained on, where there are any."""
    run, first = Run(output), next(iter(found.metrics))
    figure, alt = plots.differences(found)
    picture = plots.write(figure, alt, run.figures / "differences.png"), alt, figure.caption
    lead = f"{_size(found)}, the same for all runs; 95% intervals."
    marked = (
        f"Minus {first}, each bootstrap replicate drawing the same lesions for all runs. A star: the 95% interval "
        "leaves out zero. With many metrics and runs, some do by chance alone."
    )
    verdicts = pd.Series({name: one.in_words() for name, one in overlaps.items()}, name="evaluated lesions in training")
    leaks: list = [(verdicts.rename_axis("run").to_frame(), "Evaluated lesions in training")]
    if clean:
        fewer = f"Without them: {_size(clean)} that no run was trained on."
        leaks += [fewer, (clean.differences_table(), f"Differences to {first}, new lesions only")]
        leaks += [(clean.table(), "Metrics of each run, new lesions only")]
    write_document(
        run.folder / REPORT, f"Comparison with {first}", lead,
        [Section("Paired differences", (marked, picture, (found.differences_table(), f"Differences to {first}"))),
         Section("Were these lesions in training?", tuple(leaks)),
         Section("Metrics", ((found.table(), "Metrics of each run"),))],
        found.notes,
    )  # fmt: skip
    more: dict = {"training": {name: one.to_dict() for name, one in overlaps.items()}}
    more["without_leaked"] = vars(clean) if clean else None
    write_json(run.folder / "comparison.json", vars(found) | more)
    print(lead, *found.notes, "", found.table().to_string(), "", marked, "", sep="\n")
    print(found.differences_table().to_string(), "", sep="\n")
    print("Evaluated lesions in training:", *(f"  {name}: {text}" for name, text in verdicts.items()), sep="\n")
    if clean:
        print("", fewer, "", clean.differences_table().to_string(), sep="\n")
    print(f"\nWrote {run.folder / REPORT}, comparison.json and figures/differences.png")


def _size(found: Comparison) -> str:
    return f"{counted(found.n_images, 'image')} of {counted(found.n_lesions, 'lesion')}"
