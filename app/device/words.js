// A decision in words for people, as in app/present.py; a test holds the two together. The texts are app/words'.

/** @import {Decision, Model} from "./types.js" */

/** Below it, the most probable class is more likely wrong than right. */
const UNSURE = 0.5;

/**
 * A text of app/words with values in it.
 *
 * @param {Model} model
 * @param {string} key
 * @param {Record<string, string>} [values]
 */
export function text({ words }, key, values = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/**
 * A share of 1 in per cent; neither all nor nothing unless it is.
 *
 * @param {Model} model
 * @param {number} share
 */
export function percent(model, share) {
  if (share > 0 && share < 0.001) return text(model, "percent.under", { limit: "0.1%" });
  if (share > 0.999 && share < 1) return text(model, "percent.over", { limit: "99.9%" });
  return `${(share * 100).toFixed(1)}%`;
}

/**
 * @param {Decision} decision
 * @param {Model} model
 */
export function advice({ referral }, model) {
  return text(model, `advice.${referral}`);
}

/**
 * Why the advice is what it is, in one sentence.
 *
 * @param {Decision} decision
 * @param {Model} model
 */
export function reason({ best, referral, malignantProbability }, model) {
  const byLabel = referral === "refer" && malignantProbability < model.threshold;
  return text(model, byLabel ? "reason.label" : `reason.${referral}`, {
    probability: percent(model, malignantProbability),
    threshold: percent(model, model.threshold),
    borderline: percent(model, model.borderline),
    name: model.labels[best].name,
  });
}

/**
 * The classes' places in the order of their probability.
 *
 * @param {Decision} decision
 */
export function ranking({ probabilities }) {
  return probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
}

/**
 * The notices in words, and what else a reader must know before believing the result.
 *
 * @param {Decision} decision
 * @param {Model} model
 */
export function notices(decision, model) {
  if (!decision.inDomain) return [text(model, "notice.not_dermatoscopic")];
  const { labels } = model, { probabilities } = decision, [top] = ranking(decision), found = [];
  if (decision.notices.includes("melanoma_not_excluded")) {
    const melanoma = labels.findIndex(({ code }) => code === "mel");
    found.push(text(model, "notice.melanoma_not_excluded", { probability: percent(model, probabilities[melanoma]) }));
  }
  if (decision.notices.includes("other_camera")) found.push(text(model, "notice.other_camera"));
  if (probabilities[top] < UNSURE) {
    const probability = percent(model, probabilities[top]);
    found.push(text(model, "notice.unsure", { name: labels[top].name, probability }));
  }
  return found;
}

/**
 * Why the label is not the likeliest class; empty where it is.
 *
 * @param {Decision} decision
 * @param {Model} model
 */
export function labelDiffers(decision, model) {
  const { labels } = model, [top] = ranking(decision);
  if (top === decision.best) return "";
  const probability = percent(model, decision.probabilities[decision.best]);
  return text(model, "notice.label_differs", { likeliest: labels[top].name, name: labels[decision.best].name, probability });
}
