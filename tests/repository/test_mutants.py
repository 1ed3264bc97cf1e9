"""How many small changes to the modules that all figures rest on their tests notice: make soak."""

import ast
import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from conftest import REPOSITORY, SOAK, store_soak
from mutants import passes

MUTANTS, SEED, AT_ONCE, LONGEST = 200, 0, 2, 900  # s
#: Modules, and the tests of them.
MODULES = {
    "decision.py": ["serving/test_decision.py", "serving/test_predictor.py"],
    "evaluation/metrics.py": ["evaluation/test_metrics.py", "evaluation/test_official_scorer.py"],
    "data/splits.py": ["data/test_splits.py", "experiments/test_leak.py"],
    "data/twins.py": ["data/test_twins.py"],
    "core/images.py": ["core/test_images.py", "core/test_colour.py", "data/test_files.py"],
}


class Behaviour(ast.NodeTransformer):
    """Without annotations, docstrings and guards against mistakes in the module itself: what a test can notice."""

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Call(self, node):
        node.keywords = [one for one in node.keywords if one.arg not in ("strict", "frozen", "eq")]
        return self.generic_visit(node)

    def visit_Expr(self, node):
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def meaning(code: str) -> str | None:
    """What Python reads, None where it cannot."""
    try:
        return ast.dump(Behaviour().visit(ast.parse(code)))
    except SyntaxError:
        return None


def draw_mutants(code: str, n: int, seed: int) -> list[tuple[int, str, str]]:
    """Up to ``n`` of the changes that Cosmic Ray can make and that matter: (line, operator, changed code)."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    nodes, same = list(ast_nodes(get_ast(code))), meaning(code)
    every = []
    for name in sorted(set(plugins.operator_names()) - {"core/ExceptionReplacer"}):  # which fails at dotted names
        operator = plugins.get_operator(name)
        if not operator.arguments():
            places = [start for node in nodes for start, _ in operator().mutation_positions(node)]
            every += [(line, name, operator(), i) for i, (line, _) in enumerate(places)]
    random.Random(seed).shuffle(every)
    drawn = []
    for line, name, operator, occurrence in every:
        changed = mutate_code(code, operator, occurrence)
        if changed and meaning(changed) not in (None, same):
            drawn.append((line, name.removeprefix("core/"), changed))
        if len(drawn) == n:
            break
    return drawn


def copy_of_the_repository(folder):
    left_out = shutil.ignore_patterns(".*", "build", "node_modules", "reports", "__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY, folder, ignore=left_out)
    return folder


def test_the_modules_and_their_tests_are_where_they_are_looked_for():
    tests = REPOSITORY / "tests"
    assert all((REPOSITORY / "lib" / "skinlesion" / module).is_file() for module in MODULES)
    assert [name for names in MODULES.values() for name in names if not (tests / name).is_file()] == []


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("module", MODULES)
def test_the_tests_of_a_module_notice_what_changes_it(module, tmp_path):
    """Leaves the share that was noticed, and what was not, in experiments/soak.json."""
    code, tests = (REPOSITORY / "lib" / "skinlesion" / module).read_text(), MODULES[module]
    drawn = draw_mutants(code, MUTANTS, SEED)
    folders = [copy_of_the_repository(tmp_path / f"copy{i}") for i in range(AT_ONCE)]
    assert passes(folders[0], tests, LONGEST)

    def survives(mutant):
        folder = folders.pop()
        place = folder / "lib" / "skinlesion" / module
        try:
            place.write_text(mutant[2])
            return passes(folder, tests, LONGEST)
        finally:
            place.write_text(code)
            folders.append(folder)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        survived = [mutant for mutant, lives in zip(drawn, pool.map(survives, drawn), strict=True) if lives]
    killed = 1 - len(survived) / len(drawn)
    stored = json.loads(SOAK.read_text()).get("mutants", {})
    lines = code.splitlines()
    stored[module] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "mutants": len(drawn),
        "killed": round(killed, 3),
        "survived": [f"{line}: {name}: {lines[line - 1].strip()}" for line, name, _ in sorted(survived)],
    }
    store_soak("mutants", stored)
    assert killed >= 0.85
