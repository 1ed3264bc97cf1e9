"""The same scoring on Ray: a cluster that loses a node while it works, and what is said when something is wrong."""

import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from batch import table
from skinlesion import cli
from skinlesion.core.errors import DataError
from skinlesion.serving import score_ray
from small import encoded

IMAGES = 300
PARTS = 7  # the last holds the one that is none


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(IMAGES):
            archive.writestr(f"{i:05}.jpg", encoded(rng.integers(0, 255, (24, 24, 3), np.uint8), "JPEG"))
        archive.writestr("zz.jpg", b"no image")
    return path


def score(archive, model, output, *extra) -> int:
    return cli.main(["score", str(archive), "--model", str(model), "--output", str(output), *extra])


@pytest.fixture(scope="module")
def whole(archive, model, tmp_path_factory):
    """What the local engine leaves."""
    output = tmp_path_factory.mktemp("whole")
    assert score(archive, model, output) == 1
    return table(output)


def test_one_machine_without_a_cluster(archive, model, whole, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "skinlesion.cli", "score", archive, "--model", model, "--output", tmp_path]
    done = subprocess.run([*command, "--engine", "ray"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    pd.testing.assert_frame_equal(table(tmp_path), whole)


def light() -> dict:
    """A node of one core. Its agents are told their ports: those that look for some must find them within 15 s."""
    agents = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in agents]
    return {"num_cpus": 1, "include_log_monitor": False, **dict(zip(agents, free, strict=True))}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each, at RAY_ADDRESS. The first is the head and stays."""
    import ray  # four seconds, which every process that collects tests would take
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_health_check_period_ms", "300")  # a node is dead when five connections in turn are refused
        nodes = Cluster(initialize_head=True, head_node_args={**light(), "include_dashboard": False})
        second = nodes.add_node(**light())
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes, second
        ray.shutdown()
        nodes.shutdown()


def slowed(place: str, doomed: str):
    """The work on a part, noting on which node it begins and ends; it takes long on one, for which the others wait."""
    plain = score_ray._score

    def work(items, model):
        import ray

        node, notes = ray.get_runtime_context().get_node_id(), Path(place)
        (notes / f"{node}-{Path(items[0].member).stem}-began").touch()
        patience = time.monotonic() + 300
        while not list(notes.glob(f"{doomed}-*-began")) and time.monotonic() < patience:
            time.sleep(0.05)
        time.sleep(10**6 if node == doomed else 0)  # until it is killed
        found = plain(items, model)
        (notes / f"{node}-{Path(items[0].member).stem}-ended").touch()
        return found

    return work


def test_every_image_once_though_a_node_is_killed(cluster, archive, model, whole, tmp_path, monkeypatch):
    nodes, second = cluster
    notes, over = tmp_path / "notes", threading.Event()
    notes.mkdir()
    monkeypatch.setattr(score_ray, "_score", slowed(str(notes), second.node_id))

    def kill():
        while not list(notes.glob(f"{second.node_id}-*-began")) and not over.wait(0.05):
            pass
        nodes.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    status = score(archive, model, tmp_path / "out", "--engine", "ray")
    over.set()
    killer.join()
    pd.testing.assert_frame_equal(table(tmp_path / "out"), whole)
    assert status == 1, "one of the images is none"
    parts = {what: [path.name.split("-")[:2] for path in notes.glob(f"*-{what}")] for what in ("began", "ended")}
    caught = [part for node, part in parts["began"] if node == second.node_id]
    assert len(caught) == 1, "a part was under way on the node when it was killed, and no other was begun there"
    assert second.node_id not in {node for node, _ in parts["ended"]}
    assert len(parts["ended"]) == PARTS and len(parts["began"]) == PARTS + 1, "it was begun again elsewhere"


def test_shards_and_engines_share_an_output(cluster, archive, model, whole, tmp_path):
    assert score(archive, model, tmp_path, "--engine", "ray", "--shard", "2/2") == 0
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    assert len(done) == PARTS // 2
    assert score(archive, model, tmp_path) == 1
    assert {path: path.stat().st_mtime_ns for path in done} == done
    pd.testing.assert_frame_equal(table(tmp_path), whole)


def failing(error: Exception):
    """Work that fails. Made here, it travels whole: no worker has to import this module, and all that it needs."""

    def work(items, model):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DataError("the store is away; the same command goes on"), "error: the store is away"),
        (ZeroDivisionError(), "error: a Ray worker failed (ZeroDivisionError"),
    ],
)
def test_what_a_worker_cannot_do_is_said(cluster, error, says, archive, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(score_ray, "_score", failing(error))
    assert score(archive, model, tmp_path, "--engine", "ray") == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_a_cluster_that_is_not_there(archive, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert score(archive, model, tmp_path, "--engine", "ray") == 2
    assert "127.0.0.1:1" in (said := capsys.readouterr().err) and "check RAY_ADDRESS" in said
    assert "RAY_AUTH_MODE" in said


def test_where_ray_does_not_start_no_address_is_blamed_that_nobody_gave(archive, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", Mock(side_effect=RuntimeError("timed out")))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert score(archive, model, tmp_path, "--engine", "ray") == 2
    said = capsys.readouterr().err
    assert "timed out" in said and "--engine" in said and "RAY_" not in said
