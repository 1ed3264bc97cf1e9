"""Run a Dockerfile's steps in a clean Debian by chroot, where no container engine is at hand. As root:

    apt-get install debootstrap
    python docker/trial.py docker/app.Dockerfile --root /var/tmp/trial [--lend FILE …] [--build-arg NAME=VALUE …]
      [--serve PORT]

debootstrap makes the root (the packages of ``debian:<suite>-slim`` and a few more), then each ENV, ARG, WORKDIR, COPY
and RUN is done in it, in order. ``--lend`` copies files that reaching the network takes here, such as /etc/resolv.conf
or pip's settings; they are taken away again. ``--serve`` then starts the Dockerfile's CMD as its USER, waits for
/healthz, sends an image to the API, and says what the process holds.

It is no container: the kernel, /proc and the network are this machine's, and there are no layers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

CONTEXT = Path(__file__).resolve().parents[1]
CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, the rest of its line) of each step, with lines joined and comments gone."""
    lines = [line for line in dockerfile.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


def debootstrap(image: str, root: Path, mirror: str) -> None:
    suite = re.fullmatch(r"debian:(\w+)-slim", image)[1]
    if not (root / "etc" / "debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", suite, str(root), mirror], check=True)


@contextmanager
def mounted(root: Path):
    """/proc and /dev in the root, as long as it is in use."""
    places = {"proc": root / "proc", "dev": root / "dev"}
    subprocess.run(["mount", "-t", "proc", "proc", str(places["proc"])], check=True)
    subprocess.run(["mount", "--rbind", "/dev", str(places["dev"])], check=True)
    subprocess.run(["mount", "--make-rslave", str(places["dev"])], check=True)
    try:
        yield
    finally:
        for place in places.values():
            subprocess.run(["umount", "--recursive", "--lazy", str(place)], check=True)


@contextmanager
def lent(files: list[Path], root: Path):
    """Files of this machine, at the same places in the root, for a while."""
    places = {root / file.relative_to("/"): (file.read_bytes(), None) for file in files}
    for target, (content, _) in places.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        places[target] = content, target.read_bytes() if target.exists() else None
        target.write_bytes(content)
    try:
        yield
    finally:
        for target, (content, before) in places.items():
            if target.read_bytes() == content:  # no package has brought its own meanwhile
                target.unlink() if before is None else target.write_bytes(before)


class Build:
    """What the steps so far have set: environment, folder, user, command."""

    def __init__(self, root: Path, lend: list[Path], arguments: dict[str, str]):
        self.root, self.lend, self.arguments, self.environment = root, lend, arguments, dict(CLEAN)
        self.folder, self.user, self.command = "/", "", []

    def do(self, instruction: str, rest: str) -> None:
        if instruction in ("ENV", "ARG"):
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                value = self.arguments.get(name, value) if instruction == "ARG" else value
                self.environment[name] = re.sub(r"\$(\w+)", lambda m: self.environment.get(m[1], ""), value)
        elif instruction == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self.copy(*shlex.split(rest))
        elif instruction == "RUN":
            self.run(["/bin/sh", "-c", rest])
        elif instruction == "USER":
            self.user = rest
        elif instruction == "CMD":
            self.command = json.loads(rest)
        elif instruction not in ("FROM", "EXPOSE", "HEALTHCHECK"):
            raise SystemExit(f"error: {instruction} is an instruction that this trial does not know")

    def copy(self, *places: str) -> None:
        *sources, target = places
        for source in sources:
            place = self.root / self.folder.lstrip("/") / target / ("" if target != "./" else source)
            if target.endswith("/"):
                (self.root / self.folder.lstrip("/") / target).mkdir(parents=True, exist_ok=True)
            if (CONTEXT / source).is_dir():
                ignored = (CONTEXT / ".dockerignore").read_text().split()
                leave = shutil.ignore_patterns(*(name[3:] for name in ignored if name.startswith("**/")))
                shutil.copytree(CONTEXT / source, place, dirs_exist_ok=True, ignore=leave)
            else:
                shutil.copy(CONTEXT / source, place)

    def run(self, command: list[str]) -> None:
        with lent(self.lend, self.root):
            subprocess.run(self.inside(command), env=self.environment, check=True)

    def inside(self, command: list[str]) -> list[str]:
        script = f"cd {shlex.quote(self.folder)} && exec {shlex.join(command)}"
        user = [f"--userspec={self.user}"] if self.user else []
        return ["chroot", *user, str(self.root), "/bin/sh", "-c", script]


def serve(build: Build, port: int) -> None:
    """Start the command, ask it for its health and for an answer, and say what it holds."""
    with socket.create_server(("", port)):  # else another server might answer in its place
        pass
    command = [str(port) if word == "5000" else word for word in build.command]
    began = time.monotonic()
    process = subprocess.Popen(build.inside(command), env=build.environment)
    try:
        health = _when_ready(f"http://127.0.0.1:{port}/healthz", process)
        print(f"\nhealthy after {time.monotonic() - began:.1f} s: {health}")
        print(f"an answer: {_ask(f'http://127.0.0.1:{port}/api/v1/predict')}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory, user = (re.search(rf"{name}:\s+(\d+)", status)[1] for name in ("VmRSS", "Uid"))
        print(f"resident after it: {int(memory) / 1000:.0f} MB, as user {user}")
    finally:
        process.terminate()
        print(f"stopped with status {process.wait(60)}")


def _when_ready(address: str, process: subprocess.Popen) -> str:
    while process.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=30).read().decode()
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"error: the command ended with status {process.returncode}")


def _ask(address: str) -> str:
    image = next((CONTEXT / "app" / "static").rglob("*.jpg")).read_bytes()
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        + image
        + b"\r\n--edge--\r\n"
    )
    asked = urllib.request.Request(address, body, {"Content-Type": "multipart/form-data; boundary=edge"})
    answer = json.load(urllib.request.urlopen(asked, timeout=120))["predictions"][0]
    return f"{answer['name']}, {answer['probability']:.2f}"


def size(root: Path) -> str:
    kilobytes = subprocess.run(["du", "-skx", str(root)], capture_output=True, text=True, check=True).stdout.split()[0]
    return f"{int(kilobytes) / 1000:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="a new folder, or one that debootstrap has filled")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--lend", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--build-arg", nargs="+", default=[], metavar="NAME=VALUE", help="instead of an ARG's default")
    parser.add_argument("--serve", type=int, metavar="PORT")
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("error: chroot takes root")
    found, build = (
        steps(given.dockerfile),
        Build(given.root.resolve(), given.lend, dict(word.split("=", 1) for word in given.build_arg)),
    )
    debootstrap(found[0][1], build.root, given.mirror)
    print(f"the bare system takes {size(build.root)}")
    with mounted(build.root):
        for instruction, rest in found:
            print(f"-- {instruction} {rest}", flush=True)
            build.do(instruction, rest)
        if given.serve:
            serve(build, given.serve)
    print(f"with all of it {size(build.root)}")


if __name__ == "__main__":
    main()
