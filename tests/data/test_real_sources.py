"""Real data sets, read as one table; no image is decoded."""

import pytest

from skinlesion.data import splits
from skinlesion.data.sources import load_table

pytestmark = pytest.mark.real


def test_three_clinics_as_one_table(ham10000_256_dir, milk10k_dir, isic2017_dir):
    """The counts are those that each data set's own documentation gives, and the split of HAM10000 is its own."""
    table = load_table([f"ham10000:{ham10000_256_dir}", f"milk10k:{milk10k_dir}", f"csv:{isic2017_dir}"], 8)
    ham, milk, msk = table.origins
    counts = table.counts_by_source()
    assert (ham, milk) == ("ham10000", "milk10k") and counts.sum().to_dict() == {ham: 10015, milk: 4806, msk: 2593}
    assert counts[ham].to_dict() == {
        "ak": 130, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "scc": 197, "vasc": 142,
    }  # fmt: skip
    assert counts.loc[["bcc", "nv", "mel", "vasc"], milk].tolist() == [2499, 541, 389, 41]
    assert counts.loc[["ak", "scc"], milk].sum() == 302 + 468, "AKIEC, parted by the supplement, and SCCKA"
    assert counts.loc[["nv", "mel", "bkl"], msk].tolist() == [1866, 519, 208]
    by_type = table.frame.groupby(["source", "dx_type"]).size()
    assert by_type[ham].to_dict() == {"histo": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69}
    assert set(by_type[milk].index) == {"histo", "consensus"} and set(by_type[msk].index) == {"unknown"}
    alone = splits.make_split(table.of_source(ham))
    together = splits.make_split(table)
    assert list(together["split"][: len(alone)]) == list(alone["split"])
    assert 0.15 < (together.loc[together["source"] == milk, "split"] == "test").mean() < 0.18


def test_seven_codes_set_the_scc_of_other_clinics_aside(bcn20000_dir, ph2_dir):
    table = load_table([str(bcn20000_dir), str(ph2_dir)])
    assert table.counts_by_source().loc["akiec"].tolist() == [705, 0], "actinic keratoses alone"
    assert (table.problems["problem"] == "diagnosis without a class").sum() == 431
    assert table.counts_by_source().iloc[:, 1].sum() == 200
