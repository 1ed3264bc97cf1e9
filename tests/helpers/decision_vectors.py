"""What both copies of the decision, in Python and in JavaScript, must make of given outputs.

``python tests/helpers/decision_vectors.py`` writes the file that both are tested against.
"""

import json
from pathlib import Path

import numpy as np

from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.decision import Decision

FILE = Path(__file__).resolve().parents[2] / "app" / "device" / "tests" / "decision_vectors.json"
DOMAIN_THRESHOLD = -1.25


def decisions() -> list[Decision]:
    """One a label set, none of whose numbers leaves the logits as they are; and one that changes nothing."""
    draw = np.random.default_rng(5)
    made = []
    for labels in (HAM7, ISIC8):
        prior = draw.dirichlet(np.full(len(labels), 5.0))
        made.append(Decision(labels, 1.7, prior, draw.normal(0, 1, len(labels)), prior**-0.85, 0.85, 0.4))
    ones = np.ones(len(HAM7))
    return [*made, Decision(HAM7, 1.0, ones / len(ones), 0 * ones, ones, 0.0, 0.25)]


def vectors() -> dict:
    """``models``, as the page gets them, and ``cases``: logits and domain score with what is expected of them."""
    draw, models, cases = np.random.default_rng(2), [], []
    for number, decision in enumerate(decisions()):
        n = len(decision.labels)
        models.append({
            "labels": [{"code": one.code, "malignant": one.malignant} for one in decision.labels],
            "temperature": decision.temperature,
            "prior_shift": decision.prior_shift.tolist(),
            "decision_weights": decision.weights.tolist(),
            "threshold": decision.referral_threshold,
            "domain_threshold": DOMAIN_THRESHOLD,
        })  # fmt: skip
        ties, underflow, overflow = np.zeros(n), np.full(n, -700.0), [np.eye(n)[2] * 1e4, np.eye(n)[4] * -1e4]
        logits = (
            np.concatenate([draw.normal(0, 3, (16, n)), [ties, underflow, *overflow]])
            .astype(np.float32)
            .astype(np.float64)
        )
        outcomes = decision.decide(decision.probabilities(logits))
        for row, values in enumerate(logits):
            domain = DOMAIN_THRESHOLD + (0.0, 0.5, -0.5, -1e-9)[row % 4]
            expected = {
                "probabilities": outcomes.probabilities[row].tolist(),
                "scores": outcomes.scores[row].tolist(),
                "malignant_probability": float(outcomes.malignant_probability[row]),
                "label": decision.labels.codes[outcomes.label[row]],
                "referral": outcomes.referral[row],
                "in_domain": domain >= DOMAIN_THRESHOLD,
            }
            cases.append({"model": number, "logits": values.tolist(), "domain": domain, "expected": expected})
    return {"models": models, "cases": cases}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors()).replace('{"model":', '\n{"model":') + "\n")
