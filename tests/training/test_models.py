import numpy as np
import pytest
import torch

from skinlesion.core.errors import ConfigError
from skinlesion.training.inputs.augment import plain
from skinlesion.training.networks import models
from skinlesion.training.networks.models import create_model


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
        logits, features, _ = model.outputs(x)
        assert torch.allclose(logits, model(x), atol=1e-5)
        assert torch.allclose(model.backbone.get_classifier()(features), logits, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
     "regnetx_002", "efficientnet_b0", "mobilenetv2_035", "test_nfnet"],
)  # fmt: skip
def test_any_timm_model_with_a_classifier_trains(name):
    torch.manual_seed(0)
    model = create_model(name, classes=5, image_size=64)
    assert model.training and model.backbone.num_classes == 5
    x, y = torch.rand(4, 3, 64, 64), torch.tensor([0, 1, 2, 4])
    before = {k: p.clone() for k, p in model.named_parameters()}
    torch.nn.functional.cross_entropy(model(x), y).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    changed = [k for k, p in model.named_parameters() if not torch.equal(p, before[k])]
    assert any(k.startswith("backbone.") and "head" not in k and "fc" not in k and "class" not in k for k in changed)
    with torch.inference_mode():
        logits, features, _ = model.eval().outputs(x)
        assert logits.shape == (4, 5) and features.dim() == 2 and len(features) == 4
        assert torch.allclose(logits, model(x), atol=1e-5)


def test_a_network_without_classifier_is_refused():
    class Headless(torch.nn.Module):
        num_classes = 0

        def forward_features(self, x):
            return x.mean((2, 3))

        def forward_head(self, x, pre_logits=False):
            return x

        def forward(self, x):
            return self.forward_head(self.forward_features(x))

    with pytest.raises(ConfigError, match="headless has no classifier"):
        models.check_outputs(models.Classifier(Headless(), (0.0,) * 3, (1.0,) * 3), "headless", 7, 32)


def test_a_size_that_the_network_does_not_take_is_refused():
    with pytest.raises(ConfigError, match="efficientformer_l1 cannot process images of 128 px.*image_size"):
        create_model("efficientformer_l1", classes=7, image_size=128)
    with pytest.raises(ConfigError, match="swin_tiny_patch4_window7_224.*3 px"):
        create_model("swin_tiny_patch4_window7_224", classes=7, image_size=3)


def test_wrong_names():
    with pytest.raises(ConfigError, match="resnet18"):
        create_model("resnet_18", classes=7)
    with pytest.raises(ConfigError, match="no weights called 'resnet18.mine'; there are: .*resnet18.a1_in1k"):
        create_model("resnet18.mine", classes=7)
    with pytest.raises(ConfigError, match="no pretrained weights"):
        create_model("classic", classes=7, pretrained=True)


def test_numpy_and_torch_agree_on_plain():
    frame = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    assert np.allclose(plain(torch.from_numpy(frame)).numpy(), frame.transpose(0, 3, 1, 2) / 255)


@pytest.mark.parametrize(("constancy", "order"), [("grey_world", 1), ("shades_of_grey", 6)])
def test_color_constancy_removes_a_cast(constancy, order):
    """The logits of an image under a coloured light are those of the image after NumPy took the light out."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.1, 0.6, (1, 3, 64, 64)).astype(np.float32)
    cast = image * np.array([1.4, 1.0, 0.6], np.float32)[None, :, None, None]
    light = np.mean(cast.astype(np.float64) ** order, axis=(2, 3)) ** (1 / order)
    neutral = cast * (light.mean() / light)[:, :, None, None]
    torch.manual_seed(0)
    with_it = create_model("resnet18", classes=7, image_size=64, constancy=constancy).eval()
    torch.manual_seed(0)
    without = create_model("resnet18", classes=7, image_size=64).eval()
    with torch.inference_mode():
        found = with_it(torch.from_numpy(cast))
        assert torch.allclose(found, without(torch.from_numpy(neutral.astype(np.float32))), atol=1e-4)
        assert torch.allclose(found, with_it.outputs(torch.from_numpy(cast))[0], atol=1e-5)
        assert not torch.allclose(found, without(torch.from_numpy(cast)), atol=1e-2)
