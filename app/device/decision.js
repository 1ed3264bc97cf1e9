// What the model's outputs mean: lib/skinlesion/decision.py in JavaScript, held to it by tests/decision_vectors.json.

import { Fault } from "./fault.js";

/**
 * What is reported of one image; arrays are in the order of `model.labels`.
 *
 * @param {Model} model
 * @param {ArrayLike<number>} logits
 * @param {Domain} domain  both domain scores
 * @returns {Decision}
 */
export function decide(model, logits, domain) {
  const raw = Array.from(logits);
  if (![...raw, domain.other_camera, domain.not_dermatoscopic].every(Number.isFinite)) {
    throw new Fault("not_finite");
  }
  const probabilities = softmax(raw.map((logit, i) => logit / model.temperature + model.prior_shift[i]));
  const weighted = probabilities.map((p, i) => p * model.decision_weights[i]);
  const total = sum(weighted);
  const scores = weighted.map(value => value / total);
  const malignantProbability = Math.min(1, sum(probabilities.filter((_, i) => model.labels[i].malignant)));
  const best = scores.indexOf(Math.max(...scores));
  const inDomain = domain.not_dermatoscopic >= model.domain.not_dermatoscopic;
  return {
    best,
    probabilities,
    scores,
    malignantProbability,
    referral: inDomain ? zone(model, malignantProbability, model.labels[best].malignant) : "none",
    inDomain,
    domainScore: domain.not_dermatoscopic,
    notices: inDomain ? notices(model, probabilities, domain) : ["not_dermatoscopic"],
    predictionSet: model.prediction_set && model.labels.map(({ code }) => code)
      .filter((code, i) => probabilities[i] >= (model.prediction_set?.[code] ?? 0)),
  };
}

/**
 * The advice for a dermatoscopic image.
 *
 * @param {Model} model
 * @param {number} malignantProbability
 * @param {boolean} malignantLabel
 */
function zone({ threshold, borderline }, malignantProbability, malignantLabel) {
  if (malignantLabel || malignantProbability >= threshold) return "refer";
  return malignantProbability >= borderline ? "borderline" : "below";
}

/**
 * @param {Model} model
 * @param {number[]} probabilities
 * @param {Domain} domain
 */
function notices(model, probabilities, domain) {
  const melanoma = model.labels.findIndex(({ code }) => code === "mel");
  const leads = probabilities.indexOf(Math.max(...probabilities)) === melanoma;
  const found = domain.other_camera < model.domain.other_camera ? ["other_camera"] : [];
  const level = model.melanoma_level;
  return level !== null && !leads && probabilities[melanoma] >= level ? [...found, "melanoma_not_excluded"] : found;
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
