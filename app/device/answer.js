// What the model's outputs mean: the rules of lib/skinlesion/serving/predictor.py, number for number.

/** @import {Answer, Model} from "./types.js" */

/**
 * One image's logits and domain score as an answer; arrays are in the order of `model.labels`.
 *
 * @param {Model} model
 * @param {ArrayLike<number>} logits
 * @param {number | null} domain  the network's own domain score; null for models that use energy
 * @returns {Answer}
 */
export function answer(model, logits, domain) {
  const raw = Array.from(logits);
  const score = domain ?? logSumExp(raw);
  if (![...raw, score].every(Number.isFinite)) {
    throw new Error("The network answered with numbers that are not finite; build the page again from a sound model.");
  }
  const probabilities = softmax(raw.map((logit, i) => logit / model.temperature + model.prior_shift[i]));
  const weighted = probabilities.map((p, i) => p * model.decision_weights[i]);
  const total = sum(weighted);
  const scores = weighted.map(value => value / total);
  const malignant = sum(probabilities.filter((_, i) => model.labels[i].malignant));
  return {
    best: scores.indexOf(Math.max(...scores)),
    probabilities,
    scores,
    malignantProbability: Math.min(1, malignant),
    referral: malignant >= model.threshold ? "refer" : "watch",
    inDomain: score >= model.domain_threshold,
    domainScore: score,
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
function logSumExp(values) {
  const top = Math.max(...values);
  return top + Math.log(sum(values.map(value => Math.exp(value - top))));
}

/** @param {number[]} values */
const sum = values => values.reduce((total, value) => total + value, 0);
