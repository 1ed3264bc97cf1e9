"""The figures: what they draw is read back from their axes; how they look, people have to see."""

import base64
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score

from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.evaluation import plots
from skinlesion.evaluation.assessment import confident_errors
from skinlesion.evaluation.comparison import compare
from skinlesion.evaluation.decision_curve import decision_curve
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.operating import binary_task, operating_points
from skinlesion.evaluation.predictions import Predictions


def make(labels=HAM7, n=300, seed=0, absent=None):
    random = np.random.default_rng(seed)
    k = len(labels)
    y = random.integers(0, k, n)
    if absent is not None:
        y[y == absent] = 0
    p = np.exp(random.normal(size=(n, k)) + 2 * np.eye(k)[y])
    p /= p.sum(axis=1, keepdims=True)
    ids = np.array([f"ISIC_{i:07d}" for i in range(n)], object)
    return Predictions(ids, ids, np.full(n, "test", object), np.full(n, -1), labels, y, p, p)


def history(epochs, **more):
    e = np.arange(1, epochs + 1)
    columns = {"epoch": e, "train_loss": 2 / e, "val_loss": 2.5 / e, "learning_rate": 1e-3 / e}
    columns |= {"train_accuracy": 1 - 0.7 / e, "val_accuracy": 1 - 0.8 / e, "val_balanced_accuracy": 1 - 0.9 / e}
    return pd.DataFrame(columns | more)


def every_figure(labels):
    predictions = make(labels)
    k, y, p = len(labels), predictions.y, predictions.probabilities
    metrics = evaluate(predictions, replicates=30)
    counts, random = np.bincount(y, minlength=k), np.random.default_rng(0)
    ages, colors = random.uniform(20, 80, len(y)), random.uniform(0, 255, (len(y), 3))
    ages[:9] = np.nan
    sites = pd.DataFrame(random.integers(1, 50, (k, 15)), columns=[*"abcdefghijklmn", "unknown"])
    frames = list(random.integers(0, 256, (5, 30, 40, 3), np.uint8))
    curve = decision_curve(*binary_task(predictions, "malignant"), predictions.lesions, replicates=20)
    points = operating_points(make(labels, seed=1), predictions)
    return {
        "confusion": plots.confusion_matrix(predictions),
        "roc": plots.roc_curves(predictions, metrics),
        "precision": plots.precision_recall_curves(predictions, metrics),
        "reliability": plots.reliability_diagram({"before": p}, y, {"before": metrics}),
        "two": plots.reliability_diagram({"before": p, "after": p}, y, {"before": metrics, "after": metrics}),
        "metrics": plots.metric_forest(metrics, labels),
        "forest": plots.forest({"accuracy": metrics["accuracy"]}, "Difference", "value", reference=0),
        "class reliability": plots.class_reliability(p, y, labels),
        "decision": plots.decision_curve({"malignant": curve}),
        "operating": plots.operating_points(points),
        "differences": plots.differences(compare({"a": predictions, "b": make(labels), "c": make(labels)}, 20)),
        "training": plots.training_curves(history(5), 3),
        "counts": plots.class_counts({"images": counts}, labels),
        "grouped": plots.class_counts({"images": counts, "lesions": counts}, labels),
        "balancing": plots.balancing(counts, dict.fromkeys("abcde", counts), labels),
        "ages": plots.ages(ages, y, labels),
        "sites": plots.stacked_bars(sites, labels, "Site", "Site"),
        "grid": plots.image_grid(frames, ["a", "b", "", "", "e"], 3, "Samples", "five frames", ["red"] * 5),
        "swatches": plots.color_swatches(colors, y, labels),
        "scatter": plots.color_scatter(colors[:, 0], colors[:, 1], y, labels, "Colour", "Red", "Green"),
    }


@pytest.mark.filterwarnings("error")
def test_every_figure_draws_without_a_warning_is_titled_labelled_and_told_in_words():
    for name, (figure, alt) in every_figure(ISIC8).items():  # with eight labels figures are fuller than with seven
        assert figure.dpi == 2 * 110 and figure.get_size_inches()[0] <= 11, "two pixels a CSS pixel"
        figure.dpi = 55  # most of the time goes into pixels, which other tests look at
        with Image.open(io.BytesIO(plots.png(figure))) as image:
            assert image.format == "PNG" and image.width == pytest.approx(55 * figure.get_size_inches()[0], abs=1), name
        titles = [figure.get_suptitle()] + [axis.get_title() for axis in figure.axes]
        assert any(titles), name
        assert len(alt) > 10, name
        assert figure.caption.endswith(".") or name == "grid", name
        if name != "grid":
            assert any(axis.get_xlabel() for axis in figure.axes) or figure.get_supxlabel(), name
        _nothing_is_cut_off(figure, name)


def _nothing_is_cut_off(figure, name):
    width, height = figure.canvas.get_width_height()
    for artist in [*figure.axes, *figure.legends, *figure.texts]:
        if artist.get_visible():
            box = artist.get_tightbbox(figure.canvas.get_renderer())
            room = figure.dpi / 220  # a pixel of the file
            assert box.x0 >= -room and box.y0 >= -room and box.x1 <= width + room and box.y1 <= height + room, name


def test_confusion_matrix_shows_the_counts_and_row_fractions():
    predictions = make()
    figure, alt = plots.confusion_matrix(predictions)
    expected = confusion_matrix(predictions.y, predictions.predicted, labels=range(7))
    left, right = ([text.get_text() for text in axis.texts] for axis in figure.axes)
    assert left == [str(n) for n in expected.ravel()]
    assert right == [f"{n:.2f}" for n in (expected / expected.sum(axis=1, keepdims=True)).ravel()]
    assert f"mel {expected[4, 4] / expected[4].sum():.2f}" in alt


def test_roc_curves_enclose_the_area_that_sklearn_finds():
    predictions = make()
    metrics = evaluate(predictions, replicates=10)
    figure, alt = plots.roc_curves(predictions, metrics)
    curves = figure.axes[0].lines[1:]
    assert len(curves) == 7
    for i, curve in enumerate(curves):
        area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
        assert area == pytest.approx(roc_auc_score(predictions.y == i, predictions.probabilities[:, i]), abs=1e-12)
        assert curve.get_color() == HAM7.colors[i]
    assert f"mel {metrics['per_class']['mel']['auroc']['value']:.3f}" in alt


def test_a_class_that_does_not_occur_is_said_to_be_undefined():
    predictions = make(absent=3)
    metrics = evaluate(predictions, replicates=10)
    figure, alt = plots.roc_curves(predictions, metrics)
    assert len(figure.axes[0].lines) == 1 + 6 and "df undefined" in alt
    figure, _ = plots.metric_forest(metrics, HAM7, ("sensitivity",))
    assert [text.get_text() for text in figure.axes[0].texts] == ["undefined"]
    _, alt = plots.confusion_matrix(predictions)
    assert "nan" not in alt


def test_training_curves_mark_the_kept_epoch_and_may_lack_a_column():
    figure, alt = plots.training_curves(history(6), 4)
    for axis in figure.axes:
        assert axis.lines[-1].get_xdata() == [4, 4]
    balanced = figure.axes[2]
    assert [line.get_label() for line in balanced.lines[:-1]] == ["validation"]
    assert "Selected epoch 4" in alt and f"{2.5 / 4:.3f}" in alt
    figure, _ = plots.training_curves(history(6, train_balanced_accuracy=0.5), 4)
    assert [line.get_label() for line in figure.axes[2].lines[:-1]] == ["training", "validation"]


def test_bars_carry_their_numbers():
    figure, alt = plots.class_counts({"images": np.array([1, 2, 3, 4, 5, 6785, 7])}, HAM7)
    assert "6,785 (99.7%)" in [text.get_text() for text in figure.axes[0].texts]
    assert "nv 6,785" in alt


def test_stacked_bars_fill_up_to_one_and_fold_rare_categories():
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.integers(1, 50, (7, 13)), columns=[*"abcdefghijkl", "unknown"])
    figure, _ = plots.stacked_bars(table, HAM7, "Site", "Site")
    axis = figure.axes[0]
    names = [container.get_label() for container in axis.containers]
    assert len(names) == 11 and names[-2:] == ["other", "unknown"]
    widths = np.array([[bar.get_width() for bar in container] for container in axis.containers])
    np.testing.assert_allclose(widths.sum(axis=0), 1)
    kept = table.drop(columns="unknown").sum().sort_values(ascending=False).index[:9]
    rest = table.drop(columns=[*kept, "unknown"]).sum(axis=1) / table.sum(axis=1)
    np.testing.assert_allclose(widths[-2], rest)


def test_ages_count_the_known_values_of_each_class():
    y = np.repeat(np.arange(7), 10)
    ages = np.tile(np.arange(10.0), 7)
    ages[0] = np.nan
    figure, alt = plots.ages(ages, y, HAM7)
    heights = [sum(bar.get_height() for bar in axis.patches) for axis in figure.axes[1:]]
    assert heights == [9] + [10] * 6
    assert "akiec 5.0 (9)" in alt and "Unknown: 1" in alt


def test_ages_told_in_fives_leave_no_gap_between_bars():
    ages = np.arange(30.0, 90, 5)
    figure, _ = plots.ages(ages, np.zeros(12, int), HAM7)
    bars = figure.axes[1].patches
    assert [bar.get_height() for bar in bars] == [1] * 12
    np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in bars], ages)


def test_the_file_is_a_png_with_its_text_beside_it_and_the_same_every_time(tmp_path):
    predictions = make()
    for name in ("one", "two"):
        plots.write(*plots.confusion_matrix(predictions), tmp_path / name / "confusion.png")
    assert (tmp_path / "one/confusion.png").read_bytes() == (tmp_path / "two/confusion.png").read_bytes()
    assert (tmp_path / "one/confusion.txt").read_text() == plots.confusion_matrix(predictions)[1] + "\n"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["confusion.png", "confusion.txt"]


def test_charts_are_small_and_photographs_keep_their_colours():
    predictions = make(n=10_000)
    metrics = evaluate(predictions, replicates=5)
    for figure, _ in (plots.confusion_matrix(predictions), plots.precision_recall_curves(predictions, metrics)):
        assert len(plots.png(figure)) < 200_000
    frame = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).astype(np.uint8)
    frame = np.concatenate([frame, 255 - frame[..., :1]], axis=-1)
    figure, _ = plots.image_grid([frame], [""], 1, "Colours", "a colour wheel", width=5)
    with Image.open(io.BytesIO(plots.png(figure))) as image:
        assert len(image.convert("RGB").getcolors(10**7)) > 20_000


@pytest.fixture
def shown(monkeypatch):
    """What is displayed in a notebook meanwhile: (data, metadata) of each output."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata: outputs.append((data, metadata)))
    return outputs


def test_a_notebook_gets_the_picture_with_its_text_alternative_and_caption(tmp_path, shown):
    figure, alt = plots.confusion_matrix(make())
    plots.show(figure, alt, save=tmp_path / "confusion.png")
    (data, metadata), (caption, about) = shown
    assert base64.b64decode(data["image/png"]) == (tmp_path / "confusion.png").read_bytes()
    assert data["text/plain"] == alt == (tmp_path / "confusion.txt").read_text().strip()
    assert metadata["image/png"]["alt"] == alt
    with Image.open(tmp_path / "confusion.png") as image:
        assert image.width == pytest.approx(2 * metadata["image/png"]["width"], abs=1)
    assert caption["text/markdown"] == f"*{figure.caption}*" and about == {"caption": figure.caption}
    plots.show(figure, alt, caption="Another one.")
    assert shown[-1][1] == {"caption": "Another one."}


def test_photographs_are_shown_small(shown):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    figure, alt = plots.image_grid([noise] * 12, [""] * 12, 4, "Noise", "noise")
    plots.show(figure, alt)
    ((data, metadata),) = shown
    picture = base64.b64decode(data["image/jpeg"])
    assert len(picture) < len(plots.png(figure)) and metadata["image/jpeg"]["alt"] == alt
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG" and image.width == pytest.approx(2 * 110 * 9, abs=1)


def test_several_figures_are_saved_under_their_names(tmp_path, shown):
    plots.show_all({name: plots.confusion_matrix(make()) for name in ("a", "b")}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.txt", "b.png", "b.txt"]
    assert len(shown) == 4


def test_frame_fitting_shows_every_way():
    frames = [np.full((45, 60, 3), value, np.uint8) for value in (10, 200)]
    figure, _ = plots.frame_fitting(frames, ["mel", "nv"], 32, "center_crop", 1)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["mel: whole frame", "squash", "center_crop", "this run: center_crop, 32 px"]
    sizes = [axis.images[0].get_array().shape[:2] for axis in figure.axes[:4]]
    assert sizes == [(128, 171), (128, 128), (128, 128), (32, 32)]
    assert len(plots.frame_fitting(frames, ["mel", "nv"], 32, "squash", 2)[0].axes) == 2 * 5


def test_errors_are_labelled_with_both_classes():
    predictions = make()
    errors = predictions.take(confident_errors(predictions, 5))
    figure, alt = plots.labelled_images([np.zeros((12, 16, 3), np.uint8)] * 5, errors)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    codes = HAM7.codes
    assert titles == [f"{codes[t]}, predicted {codes[p]}" for t, p in zip(errors.y, errors.predicted, strict=True)]
    assert (errors.y != errors.predicted).all() and titles[0] in alt
    highest = errors.scores.max(axis=1)
    assert (np.diff(highest) <= 0).all(), "the most confident one first"
    wrong = predictions.predicted != predictions.y
    assert highest[0] == predictions.scores[wrong].max()


def test_drawing_touches_no_global_state():
    code = (
        "import sys; import matplotlib as m; import numpy as np; before = dict(m.rcParams);"
        "from skinlesion.core.taxonomy import HAM7; from skinlesion.evaluation import plots;"
        "plots.class_counts({'images': np.ones(7, int)}, HAM7);"
        "from matplotlib import _pylab_helpers as open_figures;"
        "print(dict(m.rcParams) == before, len(open_figures.Gcf.figs), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0", "False"]
