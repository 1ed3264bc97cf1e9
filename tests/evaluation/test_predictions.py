import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation.predictions import Predictions
from skinlesion.evaluation.reading import read_predictions


def make(labels=HAM7, n=30, seed=0):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(len(labels)), n)
    return Predictions(
        image_ids=np.array([f"ISIC_{i:07d}" for i in range(n)], object),
        lesions=np.array([f"HAM_{i // 2:07d}" for i in range(n)], object),
        split=np.array(["validation", "test", "test"] * (n // 3), object),
        fold=np.arange(n) % 4 - 1,
        labels=labels,
        y=random.integers(0, len(labels), n),
        probabilities=p,
        scores=p**0.5,
    )


def foreign(tmp_path, **changes):
    """A CSV with nothing but ids, labels and probabilities; ``changes`` replace columns, None drops one."""
    p = np.full((4, 7), 0.1)
    p[:, 4] = 0.4
    columns = {"image_id": ["a", "b", "c", "d"], "label": ["mel", "nv", "df", "mel"]}
    columns |= {f"p_{code}": p[:, i] for i, code in enumerate(HAM7.codes)} | changes
    path = tmp_path / "foreign.csv"
    pd.DataFrame({name: column for name, column in columns.items() if column is not None}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("labels", [HAM7, ISIC8], ids=["seven", "eight"])
def test_what_is_written_reads_back_bit_for_bit(tmp_path, labels):
    predictions = make(labels)
    predictions.write(tmp_path / "run" / "predictions.csv")
    back = read_predictions(tmp_path / "run" / "predictions.csv")
    assert back.labels is labels
    for name in ("image_ids", "lesions", "split", "fold", "y", "probabilities", "scores"):
        np.testing.assert_array_equal(getattr(back, name), getattr(predictions, name), err_msg=name)
    back.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "run" / "predictions.csv").read_bytes()


def test_the_columns_are_the_contract(tmp_path):
    make().write(tmp_path / "predictions.csv")
    header, first = (tmp_path / "predictions.csv").read_text().splitlines()[:2]
    codes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert header.split(",") == (
        ["image_id", "lesion_id", "source", "dx_type", "split", "fold", "label"]
        + [f"p_{c}" for c in codes]
        + [f"score_{c}" for c in codes]
    )
    assert first.startswith("ISIC_0000000,HAM_0000000,,,validation,,")


def test_tables_that_pandas_put_together_are_read(tmp_path):
    first, second = make(n=30, seed=1), make(n=21, seed=2)
    for number, one in enumerate((first, second)):
        one.write(tmp_path / f"{number}.csv")
    parts = [pd.read_csv(tmp_path / f"{number}.csv") for number in (0, 1)]
    parts[1] = parts[1].assign(fold=np.nan, image_id="other" + parts[1]["image_id"].astype(str))
    pd.concat(parts).to_csv(tmp_path / "all.csv", index=False)
    found = read_predictions(tmp_path / "all.csv")
    assert list(found.fold) == [*first.fold, *[-1] * len(second)]


def test_a_foreign_file_needs_only_ids_labels_and_probabilities(tmp_path):
    predictions = read_predictions(foreign(tmp_path))
    assert list(predictions.lesions) == ["a", "b", "c", "d"] and not predictions.has_lesions
    assert set(predictions.split) == {""} and set(predictions.fold) == {-1}
    np.testing.assert_array_equal(predictions.scores, predictions.probabilities)
    assert [HAM7.codes[i] for i in predictions.y] == ["mel", "nv", "df", "mel"]


def test_column_order_spaces_empty_columns_and_a_byte_order_mark_do_not_matter(tmp_path):
    path = foreign(
        tmp_path, lesion_id=["L1", "L1", "", ""], fold=[""] * 4, **{f"score_{c}": [""] * 4 for c in HAM7.codes}
    )
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\ufeff" + frame[frame.columns[::-1]].to_csv(index=False).replace(",", ", "), encoding="utf-8")
    predictions = read_predictions(shuffled)
    np.testing.assert_array_equal(predictions.probabilities, read_predictions(path).probabilities)
    assert list(predictions.lesions) == ["L1", "L1", "c", "d"] and predictions.has_lesions


def test_scores_decide_and_malignancy_sums(tmp_path):
    scores = {f"score_{code}": [float(code == "vasc")] * 4 for code in HAM7.codes}
    predictions = read_predictions(foreign(tmp_path, **scores))
    assert (predictions.predicted == HAM7.index("vasc")).all()
    np.testing.assert_allclose(predictions.malignant_probability, 0.1 + 0.1 + 0.4)
    assert list(predictions.is_malignant) == [True, False, False, True]


def test_labels_come_from_another_file_in_any_order_and_vocabulary(tmp_path):
    path = foreign(tmp_path, label=None)
    (tmp_path / "truth.csv").write_text("lesion_id,image_id,dx\nL9,d,Nevus\nL9,c,bcc\nL7,b,AK\nL1,a,mel\nL0,z,nv\n")
    predictions = read_predictions(path, tmp_path / "truth.csv")
    assert [HAM7.codes[i] for i in predictions.y] == ["mel", "akiec", "bcc", "nv"]
    assert list(predictions.lesions) == ["L1", "L7", "L9", "L9"] and len(predictions.notes) == 1
    notes = read_predictions(foreign(tmp_path, label=["Melanoma", "akiec", "df", ""]), tmp_path / "truth.csv").notes
    assert notes[0] == "The predictions have another label for c; that of truth.csv counts."


def test_labels_that_are_missing_unknown_or_doubled_are_named(tmp_path):
    path, truth = foreign(tmp_path, label=None), tmp_path / "truth.csv"
    with pytest.raises(DataError, match="column label is missing.*--labels"):
        read_predictions(path)
    truth.write_text("image_id,label\na,mel\nc,nv\n")
    with pytest.raises(DataError, match="no label for b, d"):
        read_predictions(path, truth)
    truth.write_text("image_id,label\na,mel\nb,nv\nc,wart\nd,nv\n")
    with pytest.raises(DataError, match="unknown labels: wart; the classes are akiec, bcc"):
        read_predictions(path, truth)
    truth.write_text("image_id,label\na,mel\nb,nv\nc,nv\nd,nv\nd,mel\n")
    with pytest.raises(DataError, match="more than once: d"):
        read_predictions(path, truth)
    truth.write_text("image_id,age\na,5\n")
    with pytest.raises(DataError, match=r"truth\.csv: the column label is missing"):
        read_predictions(path, truth)
    with pytest.raises(DataError, match="no file at"):
        read_predictions(path, tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder; name a file in it"):
        read_predictions(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_df": None, "p_nv": None}, "p_df, p_nv missing"),
        ({"p_wart": [0] * 4}, "p_wart unknown"),
        ({f"p_{code}": None for code in HAM7.codes}, "no probability columns"),
        ({"p_nv": [0.1, 0.1, 0.2, 0.1]}, "must sum to 1.*they are not for c"),
        ({"p_nv": [0.1, "", 0.1, 0.1]}, "p_nv holds nothing, which is not a number, for b"),
        ({"p_nv": [0.1, "many", 0.1, 0.1]}, "p_nv holds 'many', which is not a number, for b"),
        ({"p_nv": [0.1, "nan", 0.1, 0.1]}, "probabilities must be finite numbers.*b"),
        ({"p_nv": [0.6, 0.1, 0.1, 0.1], "p_mel": [-0.1, 0.4, 0.4, 0.4]}, "between 0 and 1.*a"),
        ({"image_id": ["a", "b", "a", "d"]}, "unique; these repeat: a"),
        ({"image_id": ["a", "b.png", "a.JPG", "d"]}, "has a with and without an ending; keep one"),
        ({"image_id": None}, "column image_id is missing"),
        ({"label": ["mel", "", "nv", "nv"]}, "no label: b"),
        ({"label": ["mel", "wart", "nv", "nv"]}, "unknown labels: wart"),
        ({"fold": ["1", "one", "", ""]}, "fold must hold whole numbers"),
        ({"score_mel": [1, 2, 3, 4]}, "missing columns: score_akiec, score_bcc"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_the_reason(tmp_path, changes, message):
    with pytest.raises(DataError, match=rf"foreign\.csv: .*{message}"):
        read_predictions(foreign(tmp_path, **changes))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no file at"):
        read_predictions(tmp_path / "nowhere.csv")
    for name, content in (
        ("empty.csv", b""),
        ("binary.csv", bytes(range(256)) * 9),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_predictions(tmp_path / name)
    with pytest.raises(DataError):
        read_predictions(tmp_path)
    (tmp_path / "header.csv").write_text(foreign(tmp_path).read_text().splitlines()[0])
    with pytest.raises(DataError, match="there are no predictions"):
        read_predictions(tmp_path / "header.csv")


def test_rounded_probabilities_are_accepted_and_left_alone(tmp_path):
    predictions = read_predictions(foreign(tmp_path, p_nv=[0.1008] * 4))
    assert (predictions.probabilities[:, HAM7.index("nv")] == 0.1008).all()


def test_many_offenders_are_counted_not_listed(tmp_path):
    predictions = make(n=30)
    bad = predictions.probabilities * 0.9
    with pytest.raises(DataError, match=r"ISIC_0000004, … \(30 in all\)") as caught:
        Predictions(predictions.image_ids, predictions.lesions, predictions.split, predictions.fold, HAM7,
                    predictions.y, bad, predictions.scores)  # fmt: skip
    assert len(str(caught.value)) < 300


def test_splits_are_selected_by_name():
    predictions = make(n=30)
    test = predictions.of_split("test")
    assert len(test) == 20 and set(test.split) == {"test"}
    np.testing.assert_array_equal(test.scores, predictions.scores[predictions.split == "test"])
    with pytest.raises(DataError, match="'train'; the splits here are 'test', 'validation'"):
        predictions.of_split("train")


def test_a_column_for_no_class_is_told(tmp_path):
    found = read_predictions(foreign(tmp_path, UNK=[0.1, 0.5, 0.3, 0.6]))
    assert found.notes == ("UNK is no class here: it is left out, though the largest of 2 images.",)
    assert found.labels.codes[found.predicted[1]] == "mel"


def test_rows_of_a_split_count_however_its_name_is_written(tmp_path):
    predictions = read_predictions(foreign(tmp_path, split=["test", "Test", "val", "Other"]))
    assert list(predictions.of_split("testing").image_ids) == ["a", "b"]
    assert list(predictions.of_split("Validation").image_ids) == ["c"]
    assert list(predictions.of_split("Other").image_ids) == ["d"]


def test_arrays_that_do_not_fit_are_refused():
    one = make(n=30)
    with pytest.raises(DataError, match="y must have one entry"):
        Predictions(one.image_ids, one.lesions, one.split, one.fold, HAM7, one.y[:9], one.probabilities, one.scores)
    with pytest.raises(DataError, match="shape"):
        Predictions(one.image_ids, one.lesions, one.split, one.fold, ISIC8, one.y, one.probabilities, one.scores)
    with pytest.raises(DataError, match="between 0 and 6"):
        Predictions(one.image_ids, one.lesions, one.split, one.fold, HAM7, one.y - 1, one.probabilities, one.scores)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "predictions.csv"
    make().write(path)
    before = path.read_bytes()
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Exception, match="cannot be written"):
        make(seed=1).write(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_missing_lesions_are_no_lesion_and_folds_have_many_forms(tmp_path):
    changes = {
        "lesion_id": ["NA", "n/a", "L1", "-"],
        "fold": ["fold3", "2.0", "", "NaN"],
        "split": ["nan", "", "test", "NA"],
    }
    predictions = read_predictions(foreign(tmp_path, **changes))
    assert list(predictions.lesions) == ["a", "b", "L1", "d"] and list(predictions.fold) == [3, 2, -1, -1]
    assert list(predictions.split) == ["", "", "test", ""]


def test_decimal_commas_and_files_of_one_name(tmp_path):
    path = foreign(tmp_path, image_id=["mel/0.jpg", r"nv\0.jpg", "mel/1.jpg", "nv/1.jpg"], label=None)
    frame = pd.read_csv(path, dtype=str)
    path.write_text(frame.apply(lambda column: column.str.replace(".", ",") if column.name != "image_id" else column)
                    .to_csv(index=False, sep=";"))  # fmt: skip
    (tmp_path / "truth.csv").write_text("image,dx\nnv/1,df\nnv/0,nv\nmel/1.JPG,mel\nmel/0,mel\n")
    predictions = read_predictions(path, tmp_path / "truth.csv")
    assert list(predictions.image_ids) == ["mel/0.jpg", "nv/0.jpg", "mel/1.jpg", "nv/1.jpg"]
    assert [HAM7.codes[i] for i in predictions.y] == ["mel", "nv", "mel", "df"]
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)
    (tmp_path / "truth.csv").write_text("image,dx\n0,nv\n1,mel\n")
    with pytest.raises(DataError, match=r"mel/0\.jpg, nv/0\.jpg are all 0"):
        read_predictions(path, tmp_path / "truth.csv")


def test_words_of_ones_own(tmp_path):
    path = foreign(tmp_path, label=["mel", "wart", "nv", "nv"])
    with pytest.raises(DataError, match="Map a word with --label 'wart=CODE'"):
        read_predictions(path)
    assert HAM7.codes[read_predictions(path, words=["wart=bkl"]).y[1]] == "bkl"


def named(affix, values):
    """Columns for :func:`foreign`: without ``p_``, but with ``affix`` before each code."""
    return {f"p_{code}": None for code in HAM7.codes} | {
        f"{affix}{code}": values[:, i] for i, code in enumerate(HAM7.codes)
    }


def test_what_the_values_are_is_seen_from_all_rows(tmp_path):
    p = make(n=30).probabilities[:4]
    noisy = p.copy()
    noisy[0] = 1.0000001 * np.eye(7)[4]
    noisy[1, :2] += 1e-9 * np.array([1, -1]) + noisy[1, 1] * np.array([1, -1])  # a probability just below 0
    found = read_predictions(foreign(tmp_path, **named("prob_", noisy)))
    assert found.are_probabilities and not found.notes
    np.testing.assert_allclose(found.probabilities, noisy, atol=1e-6)
    both = named("logit_", np.log(p) + 5) | named("prob_", p)
    np.testing.assert_allclose(read_predictions(foreign(tmp_path, **both)).probabilities, p)
    np.testing.assert_allclose(read_predictions(foreign(tmp_path, **named("logit_", np.log(p) + 5))).probabilities, p)


def test_a_row_that_predicts_nothing_is_named(tmp_path):
    scores = np.eye(4, 7)
    scores[2] = 0
    (note, *_) = reversed(read_predictions(foreign(tmp_path, **named("score_", scores))).notes)
    assert note.startswith("All values of c are equal")


@pytest.mark.parametrize("affix", ["p_", "prob_"])
def test_two_digits_are_probabilities_and_one_bad_row_is_named(tmp_path, affix):
    two = np.array([[0.14] * 6 + [0.13], [0.15] * 6 + [0.13], [0.9, 0.1, 0, 0, 0, 0, 0], [0.5, 0.49, 0, 0, 0, 0, 0]])
    found = read_predictions(foreign(tmp_path, **named(affix, two)))
    assert found.are_probabilities
    np.testing.assert_allclose(found.probabilities, two / two.sum(axis=1, keepdims=True))
    two[1] = 0.2
    if affix == "p_":
        with pytest.raises(DataError, match="sum to 1.*not for b$"):
            read_predictions(foreign(tmp_path, **named(affix, two)))
    else:
        notes = read_predictions(foreign(tmp_path, **named(affix, two))).notes
        assert "All rows but those of b sum to one" in notes[1]


RIGHT = make(n=30).probabilities[:4]
WRONG = RIGHT + np.eye(4, 7)[:, ::-1] * [[0], [0], [1.5], [0]]
TRUTH = np.eye(7)[:4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (named("prob_", 100 * RIGHT), "percentages.*divide them by 100"),
        ({f"p_{code}": 100 * RIGHT[:, i] for i, code in enumerate(HAM7.codes)}, "percentages"),
        (named("prob_", RIGHT * [[100], [1], [1], [100]]), "percentages.* for a, d; divide them by 100"),
        ({"image_id": ["a", "", " ", "d"]}, "2 rows without an image id"),
        (named("prob_", WRONG), "between 0 and 1; they are not for c$"),
        (named("", TRUTH) | named("pred_", RIGHT), "several sets of class columns.*pred_"),
        (
            {code.upper(): TRUTH[:, i] for i, code in enumerate(HAM7.codes)} | named("pred_", RIGHT),
            "several sets of class columns: AKIEC, … and pred_akiec",
        ),
        ({"dx": ["mel", "mel", "df", "melanoma"]}, r"label and dx of .* differ in 1 row \('nv' and 'mel'"),
    ],
)
def test_a_table_that_could_be_misread_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_predictions(foreign(tmp_path, **changes))
    assert read_predictions(foreign(tmp_path, dx=["melanoma", "nevus", "", "wart"])).y.tolist() == [4, 5, 3, 4]
