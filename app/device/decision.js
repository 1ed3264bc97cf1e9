// What the model's outputs mean: lib/skinlesion/decision.py in JavaScript, held to it by tests/decision_vectors.json.

/** @import {Decision, Model} from "./types.js" */

/**
 * What is reported of one image; arrays are in the order of `model.labels`.
 *
 * @param {Model} model
 * @param {ArrayLike<number>} logits
 * @param {number} domain  the domain score
 * @returns {Decision}
 */
export function decide(model, logits, domain) {
  const raw = Array.from(logits);
  if (![...raw, domain].every(Number.isFinite)) {
    throw new Error("The network's output is not finite; build the page again from a sound model.");
  }
  const probabilities = softmax(raw.map((logit, i) => logit / model.temperature + model.prior_shift[i]));
  const weighted = probabilities.map((p, i) => p * model.decision_weights[i]);
  const total = sum(weighted);
  const scores = weighted.map(value => value / total);
  const malignantProbability = Math.min(1, sum(probabilities.filter((_, i) => model.labels[i].malignant)));
  return {
    best: scores.indexOf(Math.max(...scores)),
    probabilities,
    scores,
    malignantProbability,
    referral: malignantProbability >= model.threshold ? "refer" : "watch",
    inDomain: domain >= model.domain_threshold,
    domainScore: domain,
  };
}

/** @param {number[]} values */
function softmax(values) {
  const top = Math.max(...values);
  const weights = values.map(value => Math.exp(value - top));
  const total = sum(weights);
  return weights.map(weight => weight / total);
}

/** @param {number[]} values */
const sum = values => values.reduce((total, value) => total + value, 0);
