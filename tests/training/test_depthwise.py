import copy

import pytest
import timm
import torch
from torch import nn

from skinlesion.training.networks.depthwise import SmallMapConv2d, pad_small_maps


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
