"""What reports say of an assessment: a summary, tables for people as DataFrames, and the sections of a page."""

from __future__ import annotations

import pandas as pd

from skinlesion.core.tables import counted
from skinlesion.evaluation import calibration, plots
from skinlesion.evaluation.assessment import CURVES, NOT_CHOSEN, Assessment
from skinlesion.evaluation.decision_curve import SAME_MIX, curve_in_words
from skinlesion.evaluation.intervals import Metric, describe, p_in_words
from skinlesion.evaluation.metrics import NAMES, OF_A_PART, OVERALL, PER_CLASS
from skinlesion.evaluation.operating import QUESTIONS, OperatingPoint, count_in_words, in_plain_words
from skinlesion.evaluation.reference_results import CAUTION, published_table
from skinlesion.evaluation.subgroup_gaps import gaps_in_brief
from skinlesion.report.document import Section

_FIXED = (
    "Every threshold was chosen on the validation rows and is evaluated here on other lesions. The intervals include "
    "the sampling error of these images, not that of the choice."
)
_CURVE = (
    "A decision curve weighs true positives against false positives: a threshold of 5% accepts 19 needless referrals "
    "for one malignant lesion. A model is useful where its line is above referring every lesion and referring none."
)


def headline(assessment: Assessment) -> str:
    """Balanced accuracy, melanoma recall, the weakest class and the referral threshold, in one paragraph."""
    evaluated, metrics = assessment.evaluated, assessment.metrics
    recall, worst = _recall(metrics)
    text = f"The balanced accuracy is {describe(metrics['balanced_accuracy'])}, with its 95% interval"
    if histology := metrics.get("histology_only"):
        text += (
            f"; on the {counted(histology['n_images'], 'image')} with histology only "
            f"{describe(histology['balanced_accuracy'])}"
        )
    text += ". "
    if recall["mel"]["n"]:
        text += f"Of the melanomas, {describe(recall['mel'])} are predicted as melanoma. "
    text += (
        f"The weakest class is {evaluated.labels[worst].name.lower()}, with a recall of {describe(recall[worst])} on "
        f"{counted(recall[worst]['n'], 'image')}."
    )
    point = assessment.referral
    if point and point.measured:
        kind = "probability" if evaluated.are_probabilities else "score"
        text += (
            f" Referring from a malignant {kind} of {point.threshold:.3f} has a sensitivity of "
            f"{describe(point.sensitivity)} and a specificity of {describe(point.specificity)}."
        )
    return text


def _recall(metrics: dict) -> tuple[dict[str, Metric], str]:
    """The sensitivity of every class, and the class for which it is lowest."""
    recall = {code: values["sensitivity"] for code, values in metrics["per_class"].items()}
    return recall, min((code for code in recall if recall[code]["n"]), key=lambda code: recall[code]["value"])


def overall_table(metrics: dict) -> pd.DataFrame:
    """The metrics of all images, one per row."""
    values = {NAMES[name]: describe(metrics[name]) for name in OVERALL}
    return pd.DataFrame({"value (95% interval)": values}).rename_axis("metric")


def class_table(metrics: dict, digits: int = 2) -> pd.DataFrame:
    """The metrics of every class, one class per row; also its recall with histology only, where that is known."""
    rows = {
        code: {"images": f"{values['sensitivity']['n']:,}"} | {NAMES[m]: describe(values[m], digits) for m in PER_CLASS}
        for code, values in metrics["per_class"].items()
    }
    for code, values in metrics.get("histology_only", {}).get("per_class", {}).items():
        recall = values["sensitivity"]
        rows[code]["Sensitivity, histology only"] = f"{describe(recall, digits)}, n = {recall['n']:,}"
    return pd.DataFrame(rows).T.rename_axis("class")


def parts_table(metrics: dict) -> pd.DataFrame:
    """The headline figures of all images, those with histology, and each source, a row each; empty without parts."""
    sources, histology = metrics.get("by_source", {}), metrics.get("histology_only")
    parts = {"all": metrics}
    if histology:
        parts["histology only"] = histology
    if len(sources) > 1:
        for name, part in sources.items():
            parts[name] = part
            if histology and name in histology["by_source"]:
                parts[f"{name}, histology only"] = histology["by_source"][name]
    if len(parts) == 1:
        return pd.DataFrame()
    shown = {name: NAMES[name] for name in OF_A_PART if name != "ece"}  # which has a section of its own
    shown |= {"malignant_auroc": "Malignant AUROC", "sensitivity": "Referral: sensitivity"}
    shown["specificity"] = "Referral: specificity"
    rows = {
        part: {"images": f"{one['n_images']:,}"} | {shown[name]: describe(one[name]) for name in shown if name in one}
        for part, one in parts.items()
    }
    return pd.DataFrame(rows).T.fillna("").rename_axis("images of")


def operating_table(points: dict[str, dict[str, OperatingPoint]]) -> pd.DataFrame:
    """The results of every chosen threshold, one threshold per row."""
    return pd.DataFrame(
        {
            f"{QUESTIONS[question]}: {aim}": {"threshold": f"{point.threshold:.4f}"}
            | {NAMES[m]: describe(getattr(point, m)) for m in ("sensitivity", "specificity", "ppv", "npv")}
            for question, by_aim in points.items()
            for aim, point in by_aim.items()
        }
    ).T.rename_axis("question: aim on validation")


def curve_table(on_the_curve: dict[str, dict[str, Metric]]) -> pd.DataFrame:
    """Points on the ROC curve, one question per column."""
    other = {"sensitivity": "Specificity", "specificity": "Sensitivity"}
    columns = {
        QUESTIONS[question]: {f"{other[aim.split()[0]]} at {aim}": describe(metric) for aim, metric in by_aim.items()}
        for question, by_aim in on_the_curve.items()
    }
    return pd.DataFrame(columns).rename_axis("point on the ROC curve")


def subgroup_table(by_group: pd.DataFrame) -> pd.DataFrame:
    """The referral's sensitivity and specificity and the AUROC of malignant against benign, by subgroup.

    ``by_group``: DataFrame of :func:`skinlesion.evaluation.subgroup_metrics.by_subgroup`.
    """
    names = {"sensitivity": "sensitivity", "specificity": "specificity", "malignant_auroc": "AUROC"}
    shown = by_group[by_group["metric"].isin(names) & by_group["value"].notna()]
    gaps = {
        words: ["too few images" if pd.isna(gap) else f"{gap:+.3f}" for gap in shown[column]]
        for words, column in (("gap to the others", "gap"), ("expected from the mix", "gap_by_mix"))
    }
    return pd.DataFrame(
        {
            "group": shown["attribute"] + ": " + shown["group"],
            "metric": shown["metric"].map(names),
            "lesions": shown["lesions"],
            "value": [describe(row) for row in shown.to_dict("records")],
            **gaps,
            "p, corrected": ["" if pd.isna(p) else p_in_words(p) for p in shown["p"]],
        }
    ).set_index("group")


def words(assessment: Assessment, prevalence: float) -> list[str]:
    """Confusions at the referral threshold, in plain words: at the images' own prevalence and at another."""
    if assessment.referral is None or not assessment.referral.measured:
        return []
    own = float(assessment.evaluated.is_malignant.mean())
    here, there = (in_plain_words(assessment.referral, share) for share in (own, prevalence))
    return [
        f"Where {own:.1%} are malignant, as among these images: {here}",
        f"Where {prevalence:.1%} are malignant, as set by the prevalence: {there} {SAME_MIX}",
    ]


def curves_in_words(assessment: Assessment) -> list[str]:
    """Every decision curve in a sentence or two."""
    return [f"{CURVES[question]}. {curve_in_words(curve)}" for question, curve in assessment.curves.items()]


def summary(assessment: Assessment, by_group: pd.DataFrame, covered: pd.DataFrame, prevalence: float) -> str:
    """The evaluation in a few points, as a Markdown list.

    ``by_group``: DataFrame of :func:`skinlesion.evaluation.subgroup_metrics.by_subgroup`; ``covered``: DataFrame of
    :func:`skinlesion.evaluation.uncertainty.coverage_curve`; ``prevalence``: see :func:`words`.
    """
    metrics, labels = assessment.metrics, assessment.evaluated.labels
    recall, worst = _recall(metrics)
    half = covered.iloc[(covered["coverage"] - 0.5).abs().argmin()]
    points = [
        f"**Balanced accuracy {describe(metrics['balanced_accuracy'])}**, macro AUROC "
        f"{describe(metrics['macro_auroc'])}, on {counted(metrics['n_images'], 'test image')} of "
        f"{counted(metrics['n_lesions'], 'lesion')}.",
        *_parts(metrics),
        f"**Recall** of melanoma {describe(recall['mel'])}; lowest for {labels[worst].name.lower()}, "
        f"{describe(recall[worst])}.",
        *_referral(assessment, prevalence),
        f"**Subgroups:** {gaps_in_brief(by_group)}",
        f"**Uncertain cases:** {half['risk']:.1%} ({half['risk_low']:.1%} to {half['risk_high']:.1%}) of the labels "
        f"are wrong in the most certain half of the images, {1 - metrics['accuracy']['value']:.1%} in all.",
        *assessment.notes,
    ]
    return "\n".join(f"- {point}" for point in points)


def _parts(metrics: dict) -> list[str]:
    """The headline figures of the images with histology, and of each source where there are several."""

    def headline_of(part: dict) -> str:
        return (
            f"balanced accuracy {describe(part['balanced_accuracy'])}, macro AUROC {describe(part['macro_auroc'])}, "
            f"malignant AUROC {describe(part['malignant_auroc'])}, on {counted(part['n_images'], 'image')}"
        )

    points = []
    if histology := metrics.get("histology_only"):
        points.append(f"**With histology only:** {headline_of(histology)}.")
    sources = metrics.get("by_source", {})
    if len(sources) > 1:
        points.append(f"**By source:** {'; '.join(f'{name} {headline_of(part)}' for name, part in sources.items())}.")
    return points


def _referral(assessment: Assessment, prevalence: float) -> list[str]:
    point = assessment.referral
    if point is None or not point.measured:
        return []
    malignant = round(1000 * prevalence)
    found = count_in_words(point.sensitivity, malignant)
    needless = count_in_words(point.specificity, 1000 - malignant, others=True)
    return [
        f"**Referral** from a malignant probability of {point.threshold:.3f}: sensitivity "
        f"{describe(point.sensitivity)}, specificity {describe(point.specificity)}. Of 1,000 lesions, {malignant:,} of "
        f"them malignant, it refers {found} malignant and {needless} benign ones. {SAME_MIX}"
    ]


def class_figures(assessment: Assessment) -> dict[str, tuple]:
    """Confusions, metrics by class and curves: figures with their text alternatives, by file name."""
    evaluated, metrics = assessment.evaluated, assessment.metrics
    return {
        "confusion_matrix": plots.confusion_matrix(evaluated),
        "by_class": plots.metric_forest(metrics, evaluated.labels),
        "roc_curves": plots.roc_curves(evaluated, metrics),
        "precision_recall_curves": plots.precision_recall_curves(evaluated, metrics),
    }


def threshold_figures(assessment: Assessment) -> dict[str, tuple]:
    """Thresholds and decision curves, where there are any, by file name."""
    drawn = {}
    if assessment.points:
        drawn["operating_points"] = plots.operating_points(assessment.points)
    if assessment.curves:
        drawn["decision_curves"] = plots.decision_curve({CURVES[q]: c for q, c in assessment.curves.items()})
    return drawn


def figures(assessment: Assessment) -> dict[str, tuple]:
    """Every figure with its text alternative, by file name."""
    evaluated, drawn = assessment.evaluated, class_figures(assessment)
    if evaluated.are_probabilities:
        p, y, name = evaluated.probabilities, evaluated.y, "As predicted"
        drawn["reliability"] = plots.reliability_diagram({name: p}, y, {name: assessment.metrics})
        drawn["class_reliability"] = plots.class_reliability(p, y, evaluated.labels)
    return drawn | threshold_figures(assessment)


def sections(assessment: Assessment, pictures: dict[str, tuple[bytes, str, str]], prevalence: float) -> list[Section]:
    """The report's sections.

    ``pictures``: {name: (PNG, text alternative, caption)} of :func:`figures`; ``prevalence``: of malignant lesions, for
    the plain words.
    """

    def show(*names: str) -> tuple:
        return tuple(pictures[name] for name in names if name in pictures)

    metrics = assessment.metrics
    overall, by_class = (overall_table(metrics), "Metrics of all images"), (class_table(metrics), "Metrics by class")
    by_part = parts_table(metrics)
    parts = [] if by_part.empty else [(by_part, "By source and confirmation")]
    found = [
        Section("Summary", (headline(assessment), *words(assessment, prevalence), *parts, overall)),
        Section("Classes", (by_class, *show("by_class", "confusion_matrix", "roc_curves", "precision_recall_curves"))),
    ]
    if assessment.evaluated.are_probabilities:
        values = "; ".join(f"{words} {describe(metrics[name])}" for name, words in calibration.NAMES.items())
        found.append(Section("Calibration", (values, *show("reliability", "class_reliability"))))
    if assessment.points:
        points = operating_table(assessment.points), "Thresholds chosen on validation"
        found.append(Section("Thresholds", (_FIXED, points, *show("operating_points"))))
    elif assessment.on_the_curve:
        points = curve_table(assessment.on_the_curve), "Points on the ROC curve"
        found.append(Section("ROC curve", (NOT_CHOSEN, points)))
    if assessment.curves:
        useful = _CURVE, *show("decision_curves"), *curves_in_words(assessment)
        found.append(Section("Usefulness of referring by the model", useful))
    found.append(Section("Published results", (CAUTION, (published_table(), "Results by other authors"))))
    return found
