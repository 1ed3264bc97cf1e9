"""The bench: its arithmetic, its tables from a made-up result, and that what is committed agrees."""

import json
import mmap
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import linregress

from benchmarks import bench, growth
from benchmarks.measure import Worker, bars, chart, drawn, exponent
from benchmarks.tables import sections
from conftest import REPOSITORY
from skinlesion.serving.manifest import Manifest


def made_up() -> dict:
    rounds = [{"base": 10.0, "ours": 9.0, "<others>": 5.0}, {"base": 20.0, "ours": 19.0, "<others>": 8.0},
              {"base": 10.0, "ours": 7.0, "<others>": 5.0}]  # fmt: skip
    speed = chart("Speed", bars(rounds, "base", "images/s"), "base", note="A note.")
    sizes = {str(n): {step: {"seconds": n**2 / 1e6, "memory, MB": 3.0} for step in growth.STEPS}
             for n in (1000, 2000, 8000)}  # fmt: skip
    return {
        "date": "2001-02-03", "machine": "2 x abacus", "versions": {"torch": "9"}, "load when begun": 0.1,
        "minutes": 3.2, "brief": False,
        "sections": {
            "Training": {"minutes": 3.2, "charts": [speed]},
            "Growth with the data": {"minutes": 0, "charts": growth.charts({"date": "2001-02-02", "sizes": sizes})},
        },
    }  # fmt: skip


def test_exponents_are_slopes_of_logarithms():
    sizes = np.array([1_000, 2_000, 5_000, 50_000])
    assert exponent(sizes, 3 * sizes**1.3) == pytest.approx(1.3)
    noisy = sizes * np.random.default_rng(0).uniform(0.8, 1.2, 4)
    assert exponent(sizes, noisy) == pytest.approx(linregress(np.log(sizes), np.log(noisy)).slope)


def test_growth_tells_time_and_memory_apart():
    time, memory = made_up()["sections"]["Growth with the data"]["charts"]
    assert [bar["value"] for bar in time["bars"]] == pytest.approx([2.0] * len(growth.STEPS))
    assert [bar["value"] for bar in memory["bars"]] == pytest.approx([0.0] * len(growth.STEPS))


def test_memory_is_what_was_allocated():
    with growth.Memory() as memory:
        # from the kernel: the process may have kept room that arrays would go into
        held = mmap.mmap(-1, 60_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        held.write(bytes(1) * 60_000_000)
        held.close()
    assert 50 < memory.most < 150


def test_bars_are_medians_of_paired_ratios():
    ours, others = made_up()["sections"]["Training"]["charts"][0]["bars"]
    assert (ours["value"], ours["low"], ours["high"], ours["pairs"]) == (
        0.9,
        0.7,
        0.95,
        3,
    )  # not 9 / 10 of medians alone
    assert others["value"] == 0.5
    (inverse,) = bars([{"base": 1.0, "slow": 4.0}], "base", "s", inverse=True)
    assert inverse["value"] == 0.25


def test_tables_hold_every_bar():
    results = made_up()
    block = sections(results)
    assert "| Speed | ours | 0.90 (0.70 to 0.95) | 9 images/s | base |" in block
    for section in results["sections"].values():
        for found in section["charts"]:
            for bar in found["bars"]:
                assert f"| {bar['name']} | {bar['value']:.2f}".replace("-0.00", "0.00") in block


def test_one_command_writes_results_and_document(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("experiments.figures.write", lambda: written.append(1))
    asked = []

    def section(name, *, brief):
        asked.append(name)
        return [] if name == "growth" else [chart(name, bars([{"a": 1.0, "ours": len(asked)}], "a", "s"), "a")]

    monkeypatch.setattr(bench, "section", section)
    monkeypatch.setattr("sys.argv", ["bench"])
    bench.main()
    assert asked == list(bench.SECTIONS) and written == [1]
    file = tmp_path / "results" / "bench.json"
    results = json.loads(file.read_text())
    assert list(results["sections"]) == [title for name, (title, _) in bench.SECTIONS.items() if name != "growth"]
    monkeypatch.setattr("sys.argv", ["bench", "--only", "decode"])
    bench.main()
    again = json.loads(file.read_text())["sections"]
    assert (
        again["Training"] == results["sections"]["Training"]
        and again["Decode and resize"] != (results["sections"]["Decode and resize"])
    ), "the others of the same day stay"
    file.write_text(json.dumps(results | {"date": "2001-02-03"}))
    bench.main()
    assert list(json.loads(file.read_text())["sections"]) == ["Decode and resize"], "no section of another day"
    assert written == [1, 1], "the document needs all sections"


def test_a_section_that_fails_leaves_those_before_it(monkeypatch, tmp_path):
    def section(name, *, brief):
        if name == "inference":
            raise OSError("no such program")
        return [chart(name, bars([{"a": 1.0, "ours": 2.0}], "a", "s"), "a")]

    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench, "section", section)
    monkeypatch.setattr("sys.argv", ["bench"])
    with pytest.raises(OSError, match="no such program"):
        bench.main()
    stored = json.loads((tmp_path / "results" / "bench.json").read_text())
    assert list(stored["sections"]) == ["Decode and resize", "Training"]


def test_the_minutes_fit_the_promise():
    assert sum(minutes for _, minutes in bench.SECTIONS.values()) <= 20


@pytest.mark.parametrize("target, name", [("bench", "bench"), ("bench-full", "growth"), ("bench-rivals", "rivals")])
def test_make_knows_the_commands(target, name):
    said = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert f"-m benchmarks.{name}" in said
    module = REPOSITORY / "benchmarks" / f"{name}.py"
    assert "def main()" in module.read_text()


def test_a_worker_answers_in_its_own_process(tmp_path):
    (tmp_path / "a.jpg").write_bytes(drawn(0, 120, 90))
    with Worker("benchmarks.inference", "ours", str(tmp_path)) as worker:
        assert worker.ready["model, MB"] == pytest.approx(Manifest.read(None).content["bytes"] / 1e6)
        assert worker.ask(do="latency", times=2) > 0
        assert worker.ask(do="throughput", count=7) > 0
        assert 50 < worker.ask(do="memory") < 2000
    with pytest.raises(SystemExit, match="ended"):
        Worker("benchmarks.no_such_module")


def test_growth_is_proportional_in_time_and_bounded_in_memory():
    sizes = json.loads(growth.RESULTS.read_text())["sizes"]
    counts = sorted(map(int, sizes))
    found = {step: [sizes[str(count)][step] for count in counts] for step in growth.STEPS}
    for measured in found.values():
        slope = linregress(np.log(counts), np.log([one["seconds"] for one in measured])).slope
        assert 0.8 < slope < 1.1  # what every step costs once weighs more where there are few images
    memory = {step: [one["memory, MB"] for one in measured] for step, measured in found.items()}
    for step, kilobytes in {"cache": 0.4, "epoch": 1.0, "evaluation": 0.5, "scoring": 0.4}.items():
        assert memory[step][-1] - memory[step][0] < kilobytes * counts[-1] / 1000


def test_the_index_explains_every_file():
    for folder in ("benchmarks", "experiments"):
        text = (REPOSITORY / folder / "index.md").read_text()
        files = [path for path in (REPOSITORY / folder).rglob("*") if path.suffix in (".py", ".json", ".csv", ".toml")]
        unexplained = [path.name for path in files if path.stem not in text and path.name != "__init__.py"]
        assert len(files) > 8 and not unexplained, unexplained


def test_rivals_can_import_what_is_shared_with_numpy_alone():
    ours = ["PIL", "skinlesion", "torch", "pandas", "sklearn"]
    code = f"import sys; sys.modules.update(dict.fromkeys({ours})); import benchmarks.measure"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
