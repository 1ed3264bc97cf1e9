"""Fixtures that several test modules share."""

import json
import os
from pathlib import Path

# One thread a test process: the networks here are tiny, and threads that wait for each other only slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from shared import folder_of_the_run
from skinlesion.core.writing import write_json

REPOSITORY = Path(__file__).resolve().parents[1]
SOAK = REPOSITORY / "experiments" / "soak.json"


def store_soak(name: str, found: dict) -> None:
    """Write what a long run found into experiments/soak.json, under its name."""
    write_json(SOAK, json.loads(SOAK.read_text()) | {name: found})


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep the tests out of the user's cache; the processes of a run share theirs, as a user's processes do."""
    os.environ["SKINLESION_CACHE"] = str(folder_of_the_run(tmp_path_factory) / "cache")


def _real(variable: str, table: str) -> Path:
    """A real data set. Skips where the machine has none; fails where one is named but is not there, or CI has one."""
    place = os.environ.get(variable)
    if not place:
        at_hand = os.environ.get("CI") and (REPOSITORY.parent / "shared" / "data").exists()  # as .ci/run looks for it
        (pytest.fail if at_hand else pytest.skip)(
            f"set {variable} to the folder with {table} to run tests on real data"
        )
    folder = Path(place).resolve()
    assert any(folder.glob(f"{table}*")), f"{variable}={place} holds no {table}"
    return folder


@pytest.fixture(scope="session")
def ham10000_dir() -> Path:
    """HAM10000."""
    return _real("HAM10000_DIR", "HAM10000_metadata")


@pytest.fixture(scope="session")
def ham10000(ham10000_dir):
    """HAM10000 as a table."""
    from skinlesion.data.sources import load_table

    return load_table(str(ham10000_dir))


@pytest.fixture(scope="session")
def ham10000_256_dir() -> Path:
    """HAM10000 as centre squares of 256 pixels."""
    return _real("HAM10000_256_DIR", "HAM10000_metadata")


@pytest.fixture(scope="session")
def milk10k_dir() -> Path:
    """MILK10k's training set."""
    return _real("MILK10K_DIR", "MILK10k_Training_GroundTruth")


@pytest.fixture(scope="session")
def isic2017_dir() -> Path:
    """ISIC 2017 without HAM10000's images: images and labels.csv."""
    return _real("ISIC2017_DIR", "labels.csv")


@pytest.fixture(scope="session")
def bcn20000_dir() -> Path:
    """BCN20000: images and labels.csv."""
    return _real("BCN20000_DIR", "labels.csv")


@pytest.fixture(scope="session")
def ph2_dir() -> Path:
    """PH2: images and labels.csv."""
    return _real("PH2_DIR", "labels.csv")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The folder of a model that is small enough to compute by hand."""
    import tiny_model

    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def application(model):
    """The Flask app with that model."""
    from app.web import create_app

    return create_app({"MODEL": model})


@pytest.fixture
def client(application):
    return application.test_client()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A data set of the kind ``csv`` for trainings, twelve lesions a class, which nothing changes: folder and table."""
    from small import small_csv

    folder = tmp_path_factory.mktemp("images")
    return folder, small_csv(folder, lesions=12)


@pytest.fixture(scope="session")
def data(images):
    """What ``fit`` takes of it: cache, targets, split."""
    from skinlesion.data.cache import build_cache
    from skinlesion.data.splits import make_split

    table = images[1]
    return build_cache(table, size=24, fit="squash"), table.targets, make_split(table)["split"].to_numpy(str)


@pytest.fixture(scope="module")
def bucket():
    """An empty bucket, ``s3://skin``, of an S3 server on this machine: the client to fill it with."""
    import logging
    import urllib.request

    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # fsspec keeps file systems by their arguments, which the address is none of: an earlier module's server is gone.
    s3fs.S3FileSystem.clear_instance_cache()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()  # objects outlive their server
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="skin")
        yield client
    server.stop()


@pytest.fixture
def folders(tmp_path):
    """A place for notebooks, and one for the run that they make."""
    notebooks, reports = tmp_path / "notebooks", tmp_path / "reports"
    notebooks.mkdir()
    return notebooks, reports / "one"
