import numpy as np
import pandas as pd
import pytest
from skinlesion.training.fold_outputs import DIGITS, is_kept, keep, read_kept

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError

ROWS = pd.DataFrame({"image_id": ["007", "8"], "lesion_id": ["01", "2"], "mel": [0.123456, -7.5], "nv": [np.pi, 1e-9]})


def test_what_is_kept_comes_back_but_for_digits_that_change_nothing(tmp_path):
    keep(tmp_path / "fold-0", ROWS, Config(), "abc", {"prior": [0.5, 0.5]})
    rows, facts = read_kept(tmp_path / "fold-0")
    assert list(rows["image_id"]) == ["007", "8"] and list(rows["lesion_id"]) == ["01", "2"]
    assert np.abs(rows[["mel", "nv"]] - ROWS[["mel", "nv"]]).to_numpy().max() <= 0.5 * 10**-DIGITS
    assert facts["prior"] == [0.5, 0.5] and facts["config"]["epochs"] == Config().epochs
    before = (tmp_path / "fold-0.csv.gz").read_bytes()
    keep(tmp_path / "fold-0", ROWS, Config(), "abc", {})
    assert (tmp_path / "fold-0.csv.gz").read_bytes() == before


def test_a_recipe_is_the_same_wherever_its_data_lie(tmp_path):
    place = tmp_path / "fold-0"
    assert not is_kept(place, Config(), "abc")
    keep(place, ROWS, Config(data="here", epochs=3), "abc", {})
    assert is_kept(place, Config(data="there", epochs=3), "abc")
    assert not is_kept(place, Config(data="here", epochs=4), "abc")
    assert not is_kept(place, Config(data="here", epochs=3), "other data")


@pytest.mark.parametrize("damaged", ["fold-0.json", "fold-0.csv.gz"])
def test_a_damaged_file_names_the_fix(tmp_path, damaged):
    keep(tmp_path / "fold-0", ROWS, Config(), "abc", {})
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:-20])
    with pytest.raises(DataError, match="train it again"):
        read_kept(tmp_path / "fold-0")
    (tmp_path / damaged).unlink()
    with pytest.raises(DataError, match="train it again"):
        read_kept(tmp_path / "fold-0")
