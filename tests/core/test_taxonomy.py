import pytest

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.taxonomy import (
    HAM7,
    ISIC8,
    label_finder,
    label_set,
    nearest_words,
    normalise_label,
    parse_words,
)


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
        # as people write them
        ("melanocytic-nevi", "nv", "nv"),
        ("Naevi", "nv", "nv"),
        ("melanocytic naevus", "nv", "nv"),
        ("Melanomas", "mel", "mel"),
        ("melanoma in-situ", "mel", "mel"),
        ("Malignant melanoma", "mel", "mel"),
        ("Seborrhoeic keratoses", "bkl", "bkl"),
        ("Haemangiomas", "vasc", "vasc"),
        ("Haemorrhages", "vasc", "vasc"),
        ("basal_cell_carcinomas", "bcc", "bcc"),
        # HAM10000's long names
        ("Actinic keratoses and intraepithelial carcinoma / Bowen's disease (AKIEC)", "akiec", None),
        ("Actinic keratoses", "akiec", None),
        ("Benign keratosis-like lesions ", "bkl", "bkl"),
        (
            "benign keratosis-like lesions (solar lentigines / seborrheic keratoses and "
            "lichen-planus like keratoses, bkl)",
            "bkl",
            "bkl",
        ),
        ("vascular lesions (angiomas, angiokeratomas, pyogenic granulomas and hemorrhage, vasc)", "vasc", "vasc"),
        # PAD-UFES-20 and MILK10k
        ("ACK", "akiec", "ak"),
        ("NEV", "nv", "nv"),
        ("SEK", "bkl", "bkl"),
        ("SCCKA", None, "scc"),
        ("Keratoacanthoma", None, "scc"),
        ("Squamous cell carcinoma, Invasive", None, "scc"),
        ("Squamous cell carcinoma in situ, Bowen’s disease", "akiec", "scc"),
        # what must not be taken for something near it
        ("Epidermal nevus", None, None),
        ("melanoma?", None, None),
        ("Melanoma (excluded)", None, None),
        ("Melanocytic nevus (melanoma not ruled out)", None, None),
        ("Lentigo NOS", None, None),
        ("Nevus (melanoma)", None, None),
        ("none", None, None),
    ],
)
def test_words_of_data_sets(word, seven, eight):
    assert normalise_label(word, HAM7) == seven
    assert normalise_label(word, ISIC8) == eight


def test_unknown_code():
    with pytest.raises(DataError, match="scc"):
        HAM7["scc"]


def test_words_of_ones_own():
    assert parse_words(["Spitz tumour = NV", "a=b=mel"]) == {"Spitz tumour": "nv", "a=b": "mel"}
    assert parse_words("Nevus, NOS=nv,wart=bkl") == {"Nevus, NOS": "nv", "wart": "bkl"} and parse_words("") == {}
    find = label_finder(HAM7, parse_words(["Wart=bkl", "mel=nv"]))
    assert (find("WART"), find("mel"), find("nevus"), find("scar")) == ("bkl", "nv", "nv", None)
    for wrong in ("wart", "=bkl", "wart="):
        with pytest.raises(ConfigError, match="WORD=CODE"):
            parse_words([wrong])
    for wrong in (["wart=bkl", "Wart=nv"], "wart=bkl,wart=nv"):
        with pytest.raises(ConfigError, match="two classes, bkl and nv"):
            parse_words(wrong)
    with pytest.raises(DataError, match="no class scc; the classes are akiec"):
        label_finder(HAM7, {"x": "scc"})


def test_the_nearest_known_words():
    assert nearest_words("melanomma")[0] == "melanoma" and nearest_words("dermatofibrom")[0] == "dermatofibroma"
    assert nearest_words("xyzzy") == []
