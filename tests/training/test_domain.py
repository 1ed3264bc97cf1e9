"""The domain scores against scikit-learn's estimators, in the exported graph, and served."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import small
import tiny_model
from experiments import shipped
from skinlesion.core.config import Config
from skinlesion.core.errors import DataError, ModelError
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.data import splits
from skinlesion.data.cache import build_cache, record_cache
from skinlesion.export import onnx as export
from skinlesion.serving.predictor import Predictor
from skinlesion.training import domain
from skinlesion.training.networks.models import create_model
from skinlesion.training.trained import predict


def features(n=600, d=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, d)) @ np.diag(np.linspace(3, 0.2, d)) @ np.linalg.qr(rng.normal(0, 1, (d, d)))[0] + 5


def test_with_every_direction_it_is_mahalanobis_distance(monkeypatch):
    monkeypatch.setattr(domain, "IMAGES_A_COMPONENT", 1)
    x = features()
    fitted = domain.fit_gaussian(x, np.arange(len(x)) % 2)  # classes of one size: weights are all equal
    full = domain.Domain(fitted.mean, *_eigen(x), noise=1.0)
    expected = -np.sqrt(EmpiricalCovariance().fit(x).mahalanobis(x) / x.shape[1])
    np.testing.assert_allclose(full.scores(x)["other_camera"], expected, rtol=1e-6)


def _eigen(x):
    values, vectors = np.linalg.eigh(EmpiricalCovariance().fit(x).covariance_)
    return vectors, values


def test_of_low_rank_it_is_probabilistic_pca():
    x, other = features(), features(seed=1) + 1
    fitted = domain.fit_gaussian(x, np.arange(len(x)) % 3)
    rank = fitted.components.shape[1]
    assert rank == 20  # half of 40 features; 600 images would carry 75
    oracle = PCA(rank).fit(x)  # its covariance is that of probabilistic PCA, of n - 1 images
    covariance = oracle.get_covariance() * (len(x) - 1) / len(x)
    away = other - x.mean(0)
    expected = -np.sqrt((away @ np.linalg.inv(covariance) * away).sum(1) / x.shape[1])
    np.testing.assert_allclose(fitted.scores(other)["other_camera"], expected, rtol=1e-6)


def test_classes_count_alike_however_many_images_they_have():
    common, rare = features(900, seed=2), features(100, seed=3) + 4
    x, y = np.concatenate([common, rare]), np.repeat([0, 1], [900, 100])
    fitted = domain.fit_gaussian(x, y)
    np.testing.assert_allclose(fitted.mean, (common.mean(0) + rare.mean(0)) / 2)
    repeated = domain.fit_gaussian(np.concatenate([common, np.repeat(rare, 9, axis=0)]), np.repeat([0, 1], 900))
    rank = fitted.components.shape[1]
    np.testing.assert_allclose(fitted.variances, repeated.variances[:rank], rtol=1e-6)
    plain = domain.fit_gaussian(x, np.zeros(1000, int))
    plain_scores, scores = (
        [one.scores(images)["other_camera"] for images in (common, rare)] for one in (plain, fitted)
    )
    kept = [(of_rare > np.quantile(of_common, 0.05)).mean() for of_common, of_rare in (plain_scores, scores)]
    assert kept[1] > kept[0], "the rare class is turned away less"


def test_the_strong_score_is_the_share_of_the_energy_that_pca_explains():
    x, other = features(), features(seed=1) + 1
    fitted = domain.fit_gaussian(x, np.zeros(len(x), int))
    rank = fitted.components.shape[1]
    projected = PCA(rank).fit(x).transform(other)
    expected = (projected**2).sum(1) / ((other - x.mean(0)) ** 2).sum(1)
    found = fitted.scores(other)["not_dermatoscopic"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    outside = fitted.mean + np.linalg.svd(fitted.components.T)[2][rank:]  # directions that no component has
    np.testing.assert_allclose(fitted.scores(outside)["not_dermatoscopic"], 0, atol=1e-12)
    assert fitted.scores(fitted.mean[None])["not_dermatoscopic"] == 0  # the mean itself divides nothing by zero


def test_the_thresholds_keep_what_they_shall_of_validation():
    x = features(2000)
    known, unknown = x[:1000], x[1000:]
    fitted = domain.fit_gaussian(known, np.zeros(1000, int))
    bounded = domain.with_thresholds(fitted, known, unknown)
    for name, kept in (("other_camera", 0.95), ("not_dermatoscopic", 0.995)):
        threshold = bounded.thresholds[name]
        assert (bounded.scores(unknown)[name] >= threshold).mean() == pytest.approx(kept, abs=0.003)
        assert bounded.accepted_in_training[name] == (fitted.scores(known)[name] >= threshold).mean()


def test_a_probe_flags_pictures_like_those_it_was_shown_and_few_others():
    rng, away = np.random.default_rng(3), np.r_[np.full(5, 1.5), np.zeros(35)]
    inside, outside = rng.normal(0, 1, (3000, 40)), rng.normal(0, 1, (200, 40)) + away
    fitted = domain.with_thresholds(domain.fit_gaussian(inside, np.zeros(3000, int)), inside, inside)
    probed, scores = shipped.probed(fitted, inside, outside)
    threshold = probed.thresholds["not_dermatoscopic"]
    assert (scores >= threshold).mean() == pytest.approx(0.98, abs=0.001)
    assert probed.thresholds["other_camera"] == fitted.thresholds["other_camera"]
    new, other = rng.normal(0, 1, (3000, 40)), rng.normal(0, 1, (3000, 40)) + away
    found = [probed.scores(x)["not_dermatoscopic"] for x in (new, other)]
    assert roc_auc_score(np.repeat([1, 0], 3000), np.concatenate(found)) > 0.97
    assert (found[0] < threshold).mean() < 0.03
    assert probed.to_dict()["not_dermatoscopic"]["method"] == "linear probe"


@pytest.mark.parametrize("count", [2, 5, 20])
def test_few_images_and_features_that_never_move_give_finite_scores(count):
    x = np.zeros((count, 64))
    x[:, 0] = np.arange(count)
    fitted = domain.fit_gaussian(x, np.arange(count) % 2)
    for name, inside in fitted.scores(x).items():
        outside = fitted.scores(x + 1)[name]
        assert np.isfinite(inside).all() and np.isfinite(outside).all()
        away = ~np.isclose(x, fitted.mean).all(axis=1)  # the mean itself lies in no direction
        assert outside.max() < inside[away].min()
    with pytest.raises(DataError, match="two training images"):
        domain.fit_gaussian(x[:1], np.zeros(1, int))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    table = small.small_table(folder / "images", lesions=6)
    run = Run(folder / "run")
    table.save(run)
    split, _ = splits.choose_split(table, split_file="", seed=0, fold=0)
    splits.write_split(split, run.split)
    record_cache(run, build_cache(table, size=64, fit="squash"))
    return run, split["split"].to_numpy(str), table


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A model folder of a network that was not trained, and the domain that its graph holds."""
    torch.manual_seed(0)
    network = create_model("classic", classes=7, image_size=64).eval()
    fitted, *_ = domain.fit_domain(network, run[0], Config(image_size=64, views=2))
    folder = tmp_path_factory.mktemp("model")
    made = export.write_onnx(network, folder / "model.onnx", image_size=64, fit="squash", domain=fitted, views=2)
    content = tiny_model.manifest(HAM7, (folder / "model.onnx").read_bytes())
    content |= {"outputs": made.names, "domain": fitted.to_dict()}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder, network, fitted


def test_a_run_s_images_through_its_network_and_the_graph_says_the_same(run, exported):
    (_, split, table), (folder, network, fitted) = run, exported
    pixels = build_cache(table, size=64, fit="squash")
    validation = np.flatnonzero(split == "validation")
    scores = fitted.scores(predict(network, pixels, validation, views=2)[1])
    assert (scores["other_camera"] >= fitted.thresholds["other_camera"]).mean() >= 0.9
    answers = Predictor.load(folder).predict([np.ascontiguousarray(pixels.pixels[i]) for i in validation])
    np.testing.assert_allclose([one.domain_score for one in answers], scores["not_dermatoscopic"], rtol=2e-3)
    threshold = fitted.thresholds["not_dermatoscopic"]
    assert [one.in_domain for one in answers] == [one.domain_score >= threshold for one in answers]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (far,) = session.run(["other_camera"], {"image": pixels.pixels[validation]})
    np.testing.assert_allclose(far, scores["other_camera"], rtol=2e-3)


def test_without_validation_images_there_are_no_thresholds(run, tmp_path):
    original, split, table = run
    other = Run(tmp_path / "final")
    table.save(other)
    frame = splits.load_split(original.split)
    splits.write_split(frame.assign(split=np.where(split == "test", "test", "train")), other.split)
    record_cache(other, build_cache(table, size=64, fit="squash"))
    network, config = create_model("classic", classes=7, image_size=64).eval(), Config(image_size=64)
    with pytest.raises(DataError, match="no validation images"):
        domain.fit_domain(network, other, config)


def test_shuffled_weights_are_the_same_numbers_elsewhere(run, exported, tmp_path):
    folder = exported[0]
    frames = [np.ascontiguousarray(build_cache(run[2], size=64, fit="squash").pixels[i]) for i in (0, 3)]
    true = Predictor.load(folder).predict(frames)
    first, again, other = (export.shuffled(folder, seed=seed).predict(frames) for seed in (0, 0, 1))
    for a, b, c, d in zip(first, again, other, true, strict=True):
        assert a == b
        assert a.probabilities != c.probabilities and a.probabilities != d.probabilities
        assert a.domain_score < d.domain_score, "to the true network's domain, these features are strange"
    with pytest.raises(ModelError, match="no weights to shuffle"):
        export.shuffled(tiny_model.write(tmp_path / "tiny"))
