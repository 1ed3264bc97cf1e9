"""What both copies of the decision, in Python and in JavaScript, must make of given outputs.

``python tests/helpers/decision_vectors.py`` writes the file that both are tested against.
"""

import json
from pathlib import Path

import numpy as np

from app.device.page import decision_facts
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.decision import Decision

FILE = Path(__file__).resolve().parents[2] / "app" / "device" / "tests" / "decision_vectors.json"
DOMAIN = {"other_camera": -1.25, "not_dermatoscopic": 0.6}


def decisions() -> list[Decision]:
    """One a label set, none of whose numbers leaves the logits as they are; and one that changes nothing."""
    draw = np.random.default_rng(5)
    made = []
    for labels in (HAM7, ISIC8):
        prior = draw.dirichlet(np.full(len(labels), 5.0))
        shift, sets = draw.normal(0, 1, len(labels)), draw.uniform(0, 0.3, len(labels))
        made.append(Decision(labels, 1.7, prior, shift, prior**-0.85, 0.85, 0.4, 0.15, 0.1, 0.9, sets))
    ones = np.ones(len(HAM7))
    return [*made, Decision(HAM7, 1.0, ones / len(ones), 0 * ones, ones, 0.0, 0.25, 0.25)]


def vectors() -> dict:
    """``models``, as the page gets them, and ``cases``: logits and domain scores with what is expected of them."""
    draw, models, cases = np.random.default_rng(2), [], []
    for number, decision in enumerate(decisions()):
        n = len(decision.labels)
        models.append({**decision_facts(decision), "domain": DOMAIN})
        ties, underflow, overflow = np.zeros(n), np.full(n, -700.0), [np.eye(n)[2] * 1e4, np.eye(n)[4] * -1e4]
        logits = (
            np.concatenate([draw.normal(0, 3, (16, n)), [ties, underflow, *overflow]])
            .astype(np.float32)
            .astype(np.float64)
        )
        away = {"other_camera": (0.0, 0.5, -0.5, -1e-9), "not_dermatoscopic": (0.2, 0.0, 0.1, 0.3, -1e-9, -0.4)}
        domain = {name: np.resize(steps, len(logits)) + DOMAIN[name] for name, steps in away.items()}
        flags = {name: scores < DOMAIN[name] for name, scores in domain.items()}
        outcomes = decision.decide(decision.probabilities(logits), **flags)
        for row, values in enumerate(logits):
            expected = {
                "probabilities": outcomes.probabilities[row].tolist(),
                "scores": outcomes.scores[row].tolist(),
                "malignant_probability": float(outcomes.malignant_probability[row]),
                "label": decision.labels.codes[outcomes.label[row]],
                "referral": outcomes.referral[row],
                "in_domain": not flags["not_dermatoscopic"][row],
                "notices": list(outcomes.notices[row]),
                "prediction_set": None if outcomes.prediction_set[row] is None else list(outcomes.prediction_set[row]),
            }
            scores = {name: float(values[row]) for name, values in domain.items()}
            cases.append({"model": number, "logits": values.tolist(), "domain": scores, "expected": expected})
    return {"models": models, "cases": cases}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors()).replace('{"model":', '\n{"model":') + "\n")
