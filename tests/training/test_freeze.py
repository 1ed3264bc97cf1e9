import numpy as np
import pytest
import torch
from torch import nn

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.runs import Run
from skinlesion.data.cache import build_cache
from skinlesion.data.splits import make_split
from skinlesion.training.fit import fit
from skinlesion.training.networks.freeze import freeze_stages
from skinlesion.training.networks.models import create_model
from small import small_table

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
