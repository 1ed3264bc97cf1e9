import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.runs import Run
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split
from skinlesion.training.fit import fit
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks import models
from skinlesion.training.networks.models import SmallMapConv2d, create_model, freeze_stages, pad_small_maps
from small import small_table


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
    assert np.allclose(to_inputs(torch.from_numpy(frame)).numpy(), frame.transpose(0, 3, 1, 2) / 255)


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


def gradients(network, x):
    x = x.clone().requires_grad_()
    y = network(x)
    (y * torch.arange(y.numel(), dtype=y.dtype).view(y.shape).sin()).sum().backward()
    return y.detach(), x.grad, [p.grad for p in network.parameters()]


@pytest.mark.parametrize("kernel, padding", [(3, 1), (5, 2), (7, 3), ((5, 3), (2, 0))])
@pytest.mark.parametrize("height, width", [(3, 3), (4, 4), (4, 9), (12, 12)])
def test_values_and_gradients_stay(kernel, padding, height, width):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(6, 6, kernel, padding=padding, groups=6)).double()
    ours = copy.deepcopy(plain)
    pad_small_maps(ours)
    assert type(ours[0]) is SmallMapConv2d
    x = torch.randn(2, 6, height, width, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    (y, dx, dw), (y0, dx0, dw0) = gradients(ours, x), gradients(plain, x)
    for a, b in zip((y, dx, *dw), (y0, dx0, *dw0), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)


def test_a_whole_network_trains_alike():
    torch.manual_seed(0)
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=7, drop_path_rate=0.0).double().train()
    ours = copy.deepcopy(plain)
    pad_small_maps(ours)
    # Two of the 5x5 kernels have stride 2 (they are Conv2dSame); the other six and all 3x3 of stride 1 are taken.
    assert sum(type(m) is SmallMapConv2d for m in ours.modules()) > 8
    assert list(ours.state_dict()) == list(plain.state_dict())
    ours.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    (y, dx, dw), (y0, dx0, dw0) = gradients(ours, x), gradients(plain, x)
    for a, b in zip((y, dx, *dw), (y0, dx0, *dw0), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 5, padding=2, groups=4),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, stride=2),
        nn.Conv2d(8, 8, 5, padding=4, groups=8, dilation=2),
        nn.Conv2d(8, 8, 5, padding="same", groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, padding_mode="reflect"),
        nn.Conv2d(8, 8, 5, groups=8),
    ],
)
def test_other_convolutions_are_left_alone(conv):
    pad_small_maps(nn.Sequential(conv))
    assert type(conv) is nn.Conv2d


def test_padding_is_explicit_only_where_it_pays(monkeypatch):
    convs = nn.Sequential(nn.Conv2d(2, 2, 5, padding=2, groups=2))
    pad_small_maps(convs)
    padded = []
    pad = torch.nn.functional.pad
    monkeypatch.setattr("torch.nn.functional.pad", lambda x, *a: padded.append(x.shape[-1]) or pad(x, *a))
    for side in (4, 5, 8):
        convs(torch.rand(1, 2, side, side))
    with torch.no_grad():
        convs(torch.rand(1, 2, 4, 4))
    assert padded == [4]


CONFIG = Config(
    image_size=32, model="test_efficientnet", freeze=2, epochs=2, batch_size=32, average=0.5, checkpoint_every=1
)
FROZEN = ("backbone.conv_stem.", "backbone.bn1.", "backbone.blocks.0.")  # the stem and one more stage


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    table = small_table(tmp_path_factory.mktemp("images"), lesions=6)
    return build_cache(table, size=32, fit="squash"), table.targets, make_split(table)["split"].to_numpy(str)


def at_first(config=CONFIG):
    torch.manual_seed(config.seed)
    model = create_model(config.model, classes=7, image_size=config.image_size)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def train(data, folder, config=CONFIG, **options):
    return fit(config, *data, Run(folder), classes=7, **options).model.state_dict()


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("run"))


def test_frozen_weights_and_statistics_stay_to_the_bit_and_all_others_learn(trained):
    first = at_first()
    frozen = {name for name in first if name.startswith(FROZEN)}
    assert {"backbone.bn1.running_mean", "backbone.bn1.num_batches_tracked", "backbone.conv_stem.weight"} <= frozen
    assert {name for name in first if torch.equal(trained[name], first[name])} == frozen


def test_without_freezing_everything_learns(data, tmp_path):
    first, trained = at_first(), train(data, tmp_path, CONFIG.but(freeze=0, epochs=1))
    assert not [name for name in first if torch.equal(trained[name], first[name])]


def test_an_interrupted_training_with_frozen_stages_ends_the_same(trained, data, tmp_path):
    class Stop(Exception):
        pass

    def watch(progress):
        if progress.done == 2:
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path, watch=watch)
    again = train(data, tmp_path)
    assert all(torch.equal(again[name], trained[name]) for name in trained)


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("tf_efficientnet_lite0", ("conv_stem", "bn1", "blocks.0.")),
        ("mobilenetv2_100", ("conv_stem", "bn1", "blocks.0.")),
        ("resnet18", ("conv1", "bn1", "layer1.")),
    ],
)
def test_the_stages_are_the_networks_own(name, prefixes):
    model = create_model(name, classes=7)
    still = freeze_stages(model, 2, name)
    frozen = {n for n, parameter in model.backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {n for n, _ in model.backbone.named_parameters() if n.startswith(prefixes)}
    norms = {n for n, m in model.backbone.named_modules() if isinstance(m, nn.BatchNorm2d) and n.startswith(prefixes)}
    assert {n for n, module in model.backbone.named_modules() if any(module is one for one in still)} == norms


def test_frozen_stages_cost_no_backward_pass():
    model = create_model("test_efficientnet", classes=7)
    freeze_stages(model, 2, "test_efficientnet")
    seen = []
    for block in model.backbone.blocks[:2]:
        block.register_forward_hook(lambda module, given, out: seen.append(out.requires_grad))
    model(torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)))
    assert seen == [False, True]


def test_what_cannot_be_frozen_is_a_clear_error(data, tmp_path):
    with pytest.raises(ConfigError, match="freeze=7 leaves nothing to train: test_efficientnet has 7 stages"):
        train(data, tmp_path, CONFIG.but(freeze=7))
    with pytest.raises(ConfigError, match="classic has no stages to freeze; set freeze=0"):
        train(data, tmp_path, CONFIG.but(model="classic", freeze=1))
    model = create_model("test_efficientnet", classes=7)
    freeze_stages(model, 6, "test_efficientnet")
    left = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert left == ["backbone.classifier.weight", "backbone.classifier.bias"]
