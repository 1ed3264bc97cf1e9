import pytest

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import HAM7, ISIC8, label_set, normalise_label


def test_two_label_sets():
    assert label_set(7).codes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert set(label_set("8").codes) == {"ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc"}
    assert label_set(list(HAM7.codes)) is HAM7
    with pytest.raises(ConfigError, match="7 .* or 8"):
        label_set(9)


def test_malignant_classes():
    assert HAM7.malignant == ("akiec", "bcc", "mel")
    assert ISIC8.malignant == ("ak", "bcc", "mel", "scc")


def test_colours_differ_within_a_label_set():
    for labels in (HAM7, ISIC8):
        assert len(set(labels.colors)) == len(labels)


@pytest.mark.parametrize(
    ("word", "seven", "eight"),
    [
        ("MEL", "mel", "mel"),
        (" Basal_cell carcinoma ", "bcc", "bcc"),
        ("squamous cell carcinoma", "akiec", "scc"),
        ("actinic keratosis", "akiec", "ak"),
        ("akiec", "akiec", None),
        ("wart", None, None),
    ],
)
def test_words_of_data_sets(word, seven, eight):
    assert normalise_label(word, HAM7) == seven
    assert normalise_label(word, ISIC8) == eight


def test_unknown_code():
    with pytest.raises(DataError, match="scc"):
        HAM7["scc"]
