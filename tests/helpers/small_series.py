"""Notebooks of a cell or two that make a series, and what a run of them leaves."""

import json

import nbformat

HEAD = '# which run\nrun: str = "../reports/demo"  # the run\'s folder\n'


def write_notebook(folder, name, *code, parameters=HEAD, prose="# A title\n\nA *question*?"):
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell(prose),
        cell(parameters, metadata={"tags": ["parameters"]}),
        *map(cell, code),
    ]
    for number, one in enumerate(cells):
        one["id"] = f"cell-{number}"  # the default is random
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


def summary(folder):
    return json.loads((folder / "run.json").read_text())


def states(folder):
    return {entry["name"]: entry["status"] for entry in summary(folder)["notebooks"]}
