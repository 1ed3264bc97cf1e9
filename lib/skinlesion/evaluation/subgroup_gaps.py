"""Gaps between subgroups, as :mod:`skinlesion.evaluation.subgroup_metrics` finds them: in words, and as JSON."""

from __future__ import annotations

import pandas as pd

from skinlesion.evaluation.intervals import p_in_words
from skinlesion.evaluation.subgroup_metrics import NAMES

LEVEL = 0.05  # of significance
_TOO_SMALL = "No group is large enough to be compared with the others."


def _tested(table: pd.DataFrame) -> tuple[int, pd.DataFrame]:
    """How many gaps were tested, and those that are significant, the surest first."""
    return int(table["p"].notna().sum()), table[table["p"] < LEVEL].sort_values("p", kind="stable")


def gaps_in_words(table: pd.DataFrame) -> str:
    """Which gaps are significant beyond the mix of cases, and which groups are too small: Markdown."""
    tested, found = _tested(table)
    if not tested:
        return _TOO_SMALL
    words = f"{tested} gaps were tested together. "
    if found.empty:
        words += "None is significant beyond what the mix of cases explains; gaps within the intervals may exist."
    else:
        words += "Significant beyond what the mix of cases explains:\n\n"
        for (attribute, group), rows in found.groupby(["attribute", "group"], sort=False):
            words += f"- {attribute} {group}: " + "; ".join(map(_gap, rows.itertuples())) + "\n"
    small = _small(table).groupby("attribute", sort=False)["group"].agg(", ".join)
    names = "; ".join(f"{attribute} ({groups})" for attribute, groups in small.items())
    return words.rstrip() + (f"\n\nToo small for some or all figures: {names}." if names else "")


def gaps_in_brief(table: pd.DataFrame) -> str:
    """The same in two sentences: how many were tested, which groups differ, how many groups are too small."""
    tested, found = _tested(table)
    if not tested:
        return _TOO_SMALL
    groups = len(table.groupby(["attribute", "group"]))
    names = list(dict.fromkeys(f"{row.attribute} {row.group}" for row in found.itertuples()))
    result = f"metrics differ for {', '.join(names)}" if names else "none differs"
    return (
        f"{tested} gaps between a group and the others were tested together; significantly, and beyond what the mix of "
        f"cases explains, {result}. {len(_small(table))} of {groups} groups are too small for some or all figures."
    )


def _gap(row) -> str:
    name = NAMES[row.metric].lower().replace("auroc", "AUROC").replace("ece", "ECE")
    side = "above" if row.gap > 0 else "below"
    return (
        f"{name} {row.value:.3f}, {abs(row.gap):.3f} {side} the others (by the mix of cases alone "
        f"{row.gap_by_mix:+.3f}; p {p_in_words(row.p)})"
    )


def _small(table: pd.DataFrame) -> pd.DataFrame:
    """The groups that lack a figure or a comparison, one per row."""
    few = table.groupby(["attribute", "group"], sort=False)["p"].apply(lambda p: p.isna().any())
    return few[few].reset_index()


def for_card(table: pd.DataFrame) -> dict:
    """The table as a manifest's ``evaluation.subgroups`` holds it (see :func:`skinlesion.export.card.attach`).

    ``groups``: one entry per group, with its metrics; ``words`` and ``brief``: the gaps in words.
    """
    columns = ["value", "low", "high", "n", "gap", "gap_low", "gap_high", "gap_by_mix", "p", "note", "kinds"]
    groups = []
    for (attribute, group), lines in table.groupby(["attribute", "group"], sort=False):
        lines = lines.astype(object).where(lines.notna(), None)
        first = lines.iloc[0]
        groups.append(
            {"attribute": attribute, "group": group}
            | {name: int(first[name]) for name in ("images", "lesions", "malignant")}
            | {"metrics": lines.set_index("metric")[columns].to_dict("index")}
        )
    return {"groups": groups, "words": gaps_in_words(table), "brief": gaps_in_brief(table)}
