// A decision in words for people, as in app/present.py; a test holds the two together. The texts are app/words'.

/** Below it, the most probable class is more likely wrong than right. */
const UNSURE = 0.5;
const MOST_DIGITS = 6; // decimals of a percentage

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
 * A share of 1 in per cent, with so many decimals; neither all nor nothing unless it is.
 *
 * @param {Model} model
 * @param {number} share
 * @param {number} [digits]
 */
export function percent(model, share, digits = 1) {
  const least = 10 ** -(digits + 2), written = (/** @type {number} */ value) => `${(value * 100).toFixed(digits)}%`;
  if (share > 0 && share < least) return text(model, "percent.under", { limit: written(least) });
  if (share > 1 - least && share < 1) return text(model, "percent.over", { limit: written(1 - least) });
  return written(share);
}

/**
 * The malignant probability and what it is compared with, with the decimals that it takes to read it apart from a
 * threshold that it does not equal; every share beside it has as many `digits`.
 *
 * @param {Decision} decision
 * @param {Model} model
 * @returns {{risk: string, threshold: string, borderline: string, digits: number}}
 */
export function percents({ malignantProbability }, model) {
  for (let digits = 1; ; digits++) {
    const written = (/** @type {number} */ share) => percent(model, share, digits), risk = written(malignantProbability);
    const apart = [model.threshold, model.borderline].every(limit => limit === malignantProbability || written(limit) !== risk);
    if (apart || digits === MOST_DIGITS) {
      return { risk, threshold: written(model.threshold), borderline: written(model.borderline), digits };
    }
  }
}

/**
 * The probability of the class at that place, in per cent.
 *
 * @param {Decision} decision
 * @param {Model} model
 * @param {number} place
 */
export function share(decision, model, place) {
  return percent(model, decision.probabilities[place], percents(decision, model).digits);
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
export function reason(decision, model) {
  const { best, referral, malignantProbability } = decision, { risk, threshold, borderline } = percents(decision, model);
  const byLabel = referral === "refer" && malignantProbability < model.threshold;
  return text(model, byLabel ? "reason.label" : `reason.${referral}`, {
    probability: risk,
    threshold,
    borderline,
    name: model.labels[best].name,
    share: share(decision, model, best),
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
    found.push(text(model, "notice.melanoma_not_excluded", { probability: share(decision, model, melanoma) }));
  }
  if (decision.notices.includes("other_camera")) found.push(text(model, "notice.other_camera"));
  if (probabilities[top] < UNSURE) {
    found.push(text(model, "notice.unsure", { name: labels[top].name, probability: share(decision, model, top) }));
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
  const { best } = decision, probability = share(decision, model, best);
  return text(model, "notice.label_differs", { likeliest: labels[top].name, name: labels[best].name, probability });
}
