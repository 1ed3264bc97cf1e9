"""One cross-validation: parts -> outputs -> pooled predictions -> paired comparison.

A *part* is what one network is tested on: a fold of the images, or a source of them. Each part is predicted by a
network that was trained on the others (:func:`parts_of`, :func:`outputs_of`). The outputs of a recipe's parts, pooled,
are predictions of every image by a network that was not trained on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import softmax

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import LabelSet, label_set
from skinlesion.data.cache import PixelCache
from skinlesion.data.splits import load_split
from skinlesion.data.table import LesionTable
from skinlesion.decision import Decision
from skinlesion.evaluation import decision_fit
from skinlesion.evaluation.intervals import Resamples, resample, summarise
from skinlesion.evaluation.metrics import flat_values, replicate_values
from skinlesion.evaluation.predictions import Predictions, origin_columns
from skinlesion.training.trained import Trained, predict

IMAGE_COLUMNS = ("image_id", "lesion_id", "label")


@dataclass(frozen=True, eq=False)
class Part:
    """What one network trains on, and what it is tested on."""

    name: str  # ``fold-2``, or ``source-<name>`` of a held-out source; it names the part in files and folders
    #: str [N]: of every image of the table: ``train``; ``validation``, on which the network is tested; ``test``, left
    #: out
    split: np.ndarray

    @property
    def tested(self) -> np.ndarray:
        """Rows of the tested images, int64 [M]."""
        return np.flatnonzero(self.split == "validation")


def parts_of(
    groups: np.ndarray, names: Iterable, *, kind: str = "fold", left_out: np.ndarray | None = None
) -> list[Part]:
    """A part for each group in ``names``, in this order: the group is tested, all others train.

    ``groups`` holds fold number or source of every image, [N]; parts are called ``<kind>-<name>``, where ``kind`` is
    ``fold`` or ``source``. Images that are ``left_out``, bool [N], such as those of the test split, neither train nor
    are tested. Raises DataError if a group has no image, or is all there is.
    """
    aside = np.zeros(len(groups), bool) if left_out is None else left_out
    parts = []
    for name in names:
        split = np.where(aside, "test", np.where(groups == name, "validation", "train"))
        if not {"train", "validation"} <= set(split):
            raise DataError(f"{kind} {name} cannot be a part: it needs images of its own, and others to train on")
        parts.append(Part(f"{kind}-{name}", split))
    return parts


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the networks of one recipe output on the parts that they were not trained on."""

    images: pd.DataFrame  # DataFrame, N rows: ``image_id, lesion_id, label, part``, and whatever else was stored
    logits: np.ndarray  # float64 [N, K]
    labels: LabelSet  # the order of the logits' columns
    #: {part: dict}: how each part came about: ``config`` (without ``data``, which lies elsewhere on every machine),
    #: ``fingerprint`` of the table, ``prior`` (class mix seen in training), and what the caller adds
    facts: dict[str, dict]

    @property
    def parts(self) -> list[str]:
        """Names of the parts, sorted."""
        return sorted(self.facts)

    @property
    def y(self) -> np.ndarray:
        """Index of the true class, int64 [N]."""
        index = {code: number for number, code in enumerate(self.labels.codes)}
        return self.images["label"].map(index).to_numpy(np.int64)

    @property
    def natural_prior(self) -> np.ndarray:
        """Share of every class among these images, float64 [K]."""
        return np.bincount(self.y, minlength=len(self.labels)) / len(self.images)

    @property
    def training_prior(self) -> np.ndarray:
        """Class mix seen in training, the mean over the parts, float64 [K]."""
        return np.mean([facts["prior"] for facts in self.facts.values()], axis=0)

    def balanced_logits(self) -> np.ndarray:
        """Logits less the log of the class mix that their own network saw: as if all classes were equally frequent."""
        priors = {part: np.log(facts["prior"]) for part, facts in self.facts.items()}
        return self.logits - np.stack([priors[part] for part in self.images["part"]])

    def take(self, parts: Iterable[str]) -> Outputs:
        """These parts alone. Raises DataError where one of them is not there."""
        wanted = list(parts)
        if missing := sorted(set(wanted) - set(self.facts)):
            raise DataError(f"{', '.join(missing)} is not stored; train it first (stored: {', '.join(self.parts)})")
        rows = self.images["part"].isin(wanted).to_numpy()
        facts = {part: self.facts[part] for part in wanted}
        return replace(self, images=self.images[rows].reset_index(drop=True), logits=self.logits[rows], facts=facts)

    def predictions(self) -> Predictions:
        """Pooled predictions for which nothing is fitted.

        Scores are the softmax of :meth:`balanced_logits`; probabilities are for the class mix of these images.
        """
        even = self.balanced_logits()
        with np.errstate(divide="ignore"):  # a class without images has no share
            natural = np.log(self.natural_prior)
        return self._predictions(softmax(even + natural, axis=1), softmax(even, axis=1))

    def decision(self, referral_sensitivity: float) -> Decision:
        """Temperature, decision rule and the advice's thresholds, chosen on these outputs: for every source stored."""
        return decision_fit.choose(
            self.logits, self.y, self.labels, training_prior=self.training_prior, prior=self.natural_prior,
            referral_sensitivity=referral_sensitivity, lesions=self.images["lesion_id"].to_numpy(str),
            sources=self.images["source"].to_numpy(str) if "source" in self.images else None,
        )  # fmt: skip

    def decided(self, decision: Decision, split: str = "validation") -> Predictions:
        """Predictions by a decision that was chosen here or on other outputs."""
        return self._predictions(decision.probabilities(self.logits), decision.scores(self.logits), split)

    def _predictions(self, probabilities: np.ndarray, scores: np.ndarray, split: str = "validation") -> Predictions:
        folds = {part: int(part.removeprefix("fold-")) if part.startswith("fold-") else -1 for part in self.facts}
        return Predictions(
            image_ids=self.images["image_id"].to_numpy(object),
            lesions=self.images["lesion_id"].to_numpy(object),
            split=np.full(len(self.images), split, object),
            fold=self.images["part"].map(folds).to_numpy(np.int64),
            labels=self.labels,
            y=self.y,
            probabilities=probabilities,
            scores=scores,
            **origin_columns(self.images),
        )


def outputs_of(
    part: Part, trained: Trained, config: Config, table: LesionTable, cache: PixelCache, *, columns: Sequence[str] = (),
    **facts,
) -> Outputs:  # fmt: skip
    """What a network outputs on its part, with further ``columns`` of the table, and ``facts`` of the training."""
    logits, _ = predict(trained.model, cache, part.tested, views=config.views)
    images = table.frame.iloc[part.tested][[*IMAGE_COLUMNS, *columns]].reset_index(drop=True)
    stored = {"prior": np.asarray(trained.prior).tolist(), **facts}
    return one_part(part.name, images, logits, table.labels, config, table.fingerprint(), stored)


def outputs_of_run(run: Run, split: str, part: str, config: Config, fingerprint: str, **facts) -> Outputs:
    """What the network of a run by ``skinlesion train`` outputs on its ``validation`` or ``test`` images."""
    with np.load(run.need(run.outputs, "training"), allow_pickle=False) as stored:
        ids, logits, prior = stored["image_id"], stored["logits"], stored["prior"]
    rows = load_split(run.split).set_index("image_id", drop=False).loc[ids].reset_index(drop=True)
    chosen = (rows["split"] == split).to_numpy()
    columns = [name for name in (*IMAGE_COLUMNS, "source", "dx_type") if name in rows]
    images = rows.loc[chosen, columns].reset_index(drop=True)
    labels = label_set(config.labels)
    return one_part(part, images, logits[chosen], labels, config, fingerprint, {"prior": prior.tolist(), **facts})


def one_part(
    name: str, images: pd.DataFrame, logits: np.ndarray, labels: LabelSet, config: Config, fingerprint: str, facts: dict
) -> Outputs:
    """The outputs of one part, with its configuration and the table's fingerprint among the facts."""
    recipe = {key: value for key, value in config.to_dict().items() if key != "data"}
    stored = facts | {"fingerprint": fingerprint, "config": recipe}
    return Outputs(images.assign(part=name), np.asarray(logits, np.float64), labels, {name: stored})


def pool(outputs: Sequence[Outputs]) -> Outputs:
    """Outputs of different parts as one."""
    return Outputs(
        pd.concat([one.images for one in outputs], ignore_index=True),
        np.concatenate([one.logits for one in outputs]),
        outputs[0].labels,
        {part: facts for one in outputs for part, facts in one.facts.items()},
    )


def difference(
    a: Predictions, b: Predictions, names: Sequence[str] = ("balanced_accuracy",), replicates: int = 2000, seed: int = 0
) -> dict[str, dict]:
    """``a`` minus ``b``, paired: each bootstrap replicate draws the same lesions for both.

    Unlike in :func:`skinlesion.evaluation.comparison.compare` the two may cover different images; a lesion that only
    one of them has counts for it alone. For the same images the two functions agree. ``names``: metrics of the whole,
    or ``<code>.<metric>`` of one class. Returns {name: metric}, with value, low, high and n, the images of ``a``.
    """
    lesions = np.unique(np.concatenate([a.lesions, b.lesions]).astype(str))
    drawn = resample(lesions, replicates, seed)
    both = []
    for one in (a, b):
        resamples = Resamples(np.searchsorted(lesions, one.lesions.astype(str)), drawn.counts)
        both.append(flat_values(replicate_values(one, resamples), one.labels.codes))
    return {name: summarise(both[0][name] - both[1][name], len(a)) for name in names}
