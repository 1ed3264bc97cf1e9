import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from skinlesion import images
from skinlesion.errors import ConfigError, ModelError
from skinlesion.training import models
from skinlesion.training.augment import plain
from skinlesion.training.models import create_model


def test_classic_has_the_recipes_layers():
    model = create_model("classic", classes=7, image_size=64).eval()
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("Conv2d") == kinds.count("MaxPool2d") == 4
    assert kinds.count("Linear") == 2
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)
    assert (model.mean == 0).all() and (model.std == 1).all(), "the recipe scales pixels to 0-1 and no further"


@pytest.mark.parametrize("name", ["classic", "tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224"])
def test_answer_is_forward_and_its_parts(name):
    size = 224 if name.startswith("vit") else 64
    model = create_model(name, classes=8, image_size=size).eval()
    x = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        logits, features, _ = model.answer(x)
        assert torch.allclose(logits, model(x), atol=1e-5)
        assert torch.allclose(model.backbone.get_classifier()(features), logits, atol=1e-5)


@pytest.mark.parametrize("name", models.offline_models())
def test_pretrained_weights_know_imagenet(name):
    """The two photographs that scikit-learn ships: a temple in China and a flower."""
    # ImageNet classes: 409.. are things; 497 church, 538 dome, 663 monastery, 668 mosque, 698 palace, 832 stupa
    temple = {497, 538, 663, 668, 698, 832}
    # 308 fly, 309 bee, 323 monarch, 324..326 butterflies, 985 daisy, 986 lady's slipper, 738 pot, 723 pinwheel
    flower = {308, 309, 723, 738, 985, 986}
    model = create_model(name, classes=1000, pretrained=True).eval()
    for photo, sensible in zip(load_sample_images().images, (temple, flower), strict=True):
        x = plain(torch.from_numpy(images.fit(photo, 224, "center_crop"))[None])
        with torch.inference_mode():
            top = model(x)[0].topk(5).indices.tolist()
        assert sensible & set(top), f"{name} sees {top}"


def test_a_wheel_is_at_hand_without_a_network():
    assert "tf_efficientnet_lite0" in models.offline_models()


def test_pretrained_weights_get_a_new_classifier():
    model = create_model("tf_efficientnet_lite0", classes=7, pretrained=True)
    reference = create_model("tf_efficientnet_lite0", classes=1000, pretrained=True)
    assert torch.equal(model.backbone.conv_stem.weight, reference.backbone.conv_stem.weight)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_missing_weights_name_what_is_there(monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(ModelError, match="resnet18.*Available offline: .*tf_efficientnet_lite0"):
        create_model("resnet18", classes=7, pretrained=True)


def test_wrong_names():
    with pytest.raises(ConfigError, match="resnet18"):
        create_model("resnet_18", classes=7)
    with pytest.raises(ConfigError, match="no pretrained weights"):
        create_model("classic", classes=7, pretrained=True)


def test_weights_that_do_not_fit_are_refused():
    model = create_model("mobilenetv2_100", classes=1000).backbone
    other = create_model("tf_efficientnet_lite0", classes=1000).backbone.state_dict()
    with pytest.raises(ModelError, match="do not fit"):
        models._in_order(other, model)


def test_numpy_and_torch_agree_on_plain():
    frame = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    assert np.allclose(plain(torch.from_numpy(frame)).numpy(), frame.transpose(0, 3, 1, 2) / 255)
