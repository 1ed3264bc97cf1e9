"""The report on predictions: the answer first, details behind; tables for people as DataFrames."""

from __future__ import annotations

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.evaluation import plots
from skinlesion.evaluation.assessment import CURVES, NOT_CHOSEN, Assessment, answer
from skinlesion.evaluation.bootstrap import describe
from skinlesion.evaluation.metrics import CALIBRATION, NAMES, OVERALL
from skinlesion.evaluation.net_benefit import curve_in_words
from skinlesion.evaluation.operating import AIMS, QUESTIONS, OperatingPoint, in_plain_words
from skinlesion.evaluation.published import CAUTION, published_table
from skinlesion.report.document import Section

_COLUMNS = ("sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "average_precision")

_FIXED = (
    "Every threshold was chosen on the validation rows and is reported here on other lesions. The intervals say how "
    "well these images tell what this threshold does."
)
_CURVE = (
    "A decision curve weighs found lesions against needless referrals: who refers from a probability of 5% on would "
    "take 19 needless referrals to find one. Acting on a model pays where its line is above referring all and none."
)


def overall_table(metrics: dict) -> pd.DataFrame:
    """The metrics of the whole, one a row."""
    return pd.DataFrame({"value (95% interval)": {NAMES[name]: describe(metrics[name]) for name in OVERALL}})


def class_table(metrics: dict) -> pd.DataFrame:
    """The metrics of every class, one class a row."""
    return pd.DataFrame(
        {
            code: {"images": f"{values['sensitivity']['n']:,}"} | {NAMES[m]: describe(values[m], 2) for m in _COLUMNS}
            for code, values in metrics["per_class"].items()
        }
    ).T


def operating_table(points: dict[str, dict[str, OperatingPoint]]) -> pd.DataFrame:
    """What every chosen threshold does, one threshold a row."""
    return pd.DataFrame(
        {
            f"{QUESTIONS[question]}: {aim}": {"threshold": f"{point.threshold:.4f}"}
            | {NAMES[m]: describe(getattr(point, m)) for m in ("sensitivity", "specificity", "ppv", "npv")}
            for question, by_aim in points.items()
            for aim, point in by_aim.items()
        }
    ).T


def curve_table(on_the_curve: dict[str, dict[str, dict]]) -> pd.DataFrame:
    """Where the ROC curve passes, one question a column."""
    other = {"sensitivity": "Specificity", "specificity": "Sensitivity"}
    return pd.DataFrame(
        {
            QUESTIONS[question]: {
                f"{other[measure]} at {measure} {fraction:.2f}": describe(by_aim[f"{measure} {fraction:.2f}"])
                for measure, fraction in AIMS
            }
            for question, by_aim in on_the_curve.items()
        }
    )


def words(assessment: Assessment, prevalence: float) -> list[str]:
    """The referral threshold's confusion in plain words, at the images' own share of malignant ones and at another."""
    if assessment.referral is None:
        return []
    own = float(assessment.judged.is_malignant.mean())
    try:
        return [
            f"Where {share:.1%} are malignant, {where}: {in_plain_words(assessment.referral, share)}"
            for share, where in ((own, "as among these images"), (prevalence, "as in the population asked about"))
        ]
    except DataError:  # only malignant or only benign images: there is no confusion to tell of
        return []


def figures(assessment: Assessment) -> dict[str, tuple]:
    """Every figure with its text alternative, by file name."""
    judged, metrics = assessment.judged, assessment.metrics
    drawn = {
        "confusion_matrix": plots.confusion_matrix(judged),
        "by_class": plots.metric_forest(metrics, judged.labels),
        "roc_curves": plots.roc_curves(judged, metrics),
        "precision_recall_curves": plots.precision_recall_curves(judged, metrics),
    }
    if judged.are_probabilities:
        p, y = judged.probabilities, judged.y
        drawn["reliability"] = plots.reliability_diagram({"As predicted": p}, y, {"As predicted": metrics["ece"]})
        drawn["class_reliability"] = plots.class_reliability(p, y, judged.labels)
    if assessment.points:
        drawn["operating_points"] = plots.operating_points(assessment.points)
    if assessment.curves:
        drawn["decision_curves"] = plots.decision_curve({CURVES[q]: c for q, c in assessment.curves.items()})
    return drawn


def sections(assessment: Assessment, pictures: dict[str, tuple[bytes, str]], prevalence: float) -> list[Section]:
    """The report's sections.

    Parameters
    ----------
    pictures : {name: (PNG, text alternative)} of :func:`figures`
    prevalence : float, of malignant lesions, for the plain words
    """
    metrics, show = assessment.metrics, lambda *names: tuple(pictures[n] for n in names if n in pictures)
    found = [
        Section("The answer", (answer(assessment), *words(assessment, prevalence), overall_table(metrics))),
        Section(
            "By kind", (class_table(metrics), *show("by_class", "confusion_matrix", "roc_curves",
                                                    "precision_recall_curves")),
        ),
    ]  # fmt: skip
    if assessment.judged.are_probabilities:
        told = "; ".join(f"{NAMES[name]} {describe(metrics[name])}" for name in CALIBRATION)
        shown = show("reliability", "class_reliability")
        found.append(Section("Do the probabilities mean what they say?", (told, *shown)))
    if assessment.points:
        found.append(Section("Thresholds", (_FIXED, operating_table(assessment.points), *show("operating_points"))))
    elif assessment.on_the_curve:
        found.append(Section("Where the ROC curve passes", (NOT_CHOSEN, curve_table(assessment.on_the_curve))))
    if assessment.curves:
        curves = [f"{CURVES[question]}. {curve_in_words(curve)}" for question, curve in assessment.curves.items()]
        found.append(Section("Is acting on it worth it?", (_CURVE, *show("decision_curves"), *curves)))
    found.append(Section("In company", (CAUTION, published_table())))
    return found
