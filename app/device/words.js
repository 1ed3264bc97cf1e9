// A decision in words for people, as in app/present.py; a test holds the two together.

/** @import {Decision, Model} from "./types.js" */

/** Below it, the most probable class is more likely wrong than right. */
const UNSURE = 0.5;

/** Why not to rely on a result at all, where the image is not in the model's domain. */
export const WARNING = "This image does not look like the dermatoscopic images that the model was trained on. " +
  "Do not rely on this result; check that it was taken through a dermatoscope and shows one lesion.";

/**
 * A share of 1 in per cent; neither all nor nothing unless it is.
 *
 * @param {number} share
 */
export function percent(share) {
  if (share > 0 && share < 0.001) return "under 0.1%";
  if (share > 0.999 && share < 1) return "over 99.9%";
  return `${(share * 100).toFixed(1)}%`;
}

/** @param {Decision} decision */
export function advice({ referral, inDomain }) {
  if (referral === "refer") return "Refer to a dermatologist";
  return inDomain ? "Watch for changes" : "Watch, as far as this result can be relied on";
}

/**
 * Why "refer" or "watch", in one sentence.
 *
 * @param {Decision} decision
 * @param {Model} model
 */
export function reason({ referral, malignantProbability }, { threshold }) {
  const side = referral === "refer" ? "at or above" : "below";
  return `The probability of a malignant or pre-malignant lesion is ${percent(malignantProbability)}, ` +
    `${side} this model's referral threshold of ${percent(threshold)}.`;
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
 * What else a reader must know before believing the result.
 *
 * @param {Decision} decision
 * @param {Model} model
 */
export function notices(decision, { labels }) {
  const [top] = ranking(decision);
  const share = percent(decision.probabilities[top]);
  const found = [];
  if (decision.probabilities[top] < UNSURE) {
    found.push(`The model is unsure: even its most probable class, ${labels[top].name}, has only ${share}, ` +
      "so it is more likely wrong than right.");
  }
  if (top !== decision.best) {
    found.push(`The most probable class is ${labels[top].name}, ${share}. ${labels[decision.best].name}, ` +
      `${percent(decision.probabilities[decision.best])}, was chosen by the decision scores, which give rare classes more weight.`);
  }
  return found;
}
