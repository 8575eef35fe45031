from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medrobust.logger.csv import CsvLogger
from medrobust.result.row import Row

ROW = Row(
    id="abc",
    status="done",
    cell={"attack": "pgd"},
    metrics={"clean_accuracy": 0.75, "accuracy": 0.25},
    checks={"linf_max": 0.03},
    seconds={"craft": 1.5},
    config={"attack": {"eps": "8/255"}},
)


def test_a_row_becomes_metrics_and_config(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path / "log")
    logger.log_row(ROW)
    logger.finish()
    found = pd.read_csv(tmp_path / "log" / "metrics.csv").iloc[0]
    assert found["clean/accuracy"] == 0.75
    assert found["pgd/accuracy"] == 0.25
    assert found["check/linf_max"] == 0.03
    assert found["seconds/craft"] == 1.5
    assert '"8/255"' in (tmp_path / "log" / "config.json").read_text()


def test_curves_keep_every_step(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step=step)
    logger.finish()
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 3


def test_tables_come_back(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    index = pd.Index(["none", "medrdf"], name="defense")
    logger.log_matrix("table/accuracy", pd.DataFrame({"pgd": [0.1, np.nan]}, index=index))
    found = pd.read_csv(tmp_path / "table" / "accuracy.csv")
    assert found["defense"].tolist() == ["none", "medrdf"]
    assert found["pgd"].isna().tolist() == [False, True]
    logger.log_confusion([[1, 2], [3, 4]], ["dark", "bright"])
    counts = pd.read_csv(tmp_path / "confusion.csv", index_col="true")
    assert counts.loc["dark", "bright"] == 2


def test_no_file_has_a_formula(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    logger.log_confusion([[1, 2], [3, 4]], ["=1+1", "@x"])
    logger.log_matrix("matrix", pd.DataFrame([{"defense": "-1+1", "value": -0.5}]))
    assert (tmp_path / "confusion.csv").read_text() == "true,'=1+1,'@x\n'=1+1,1,2\n'@x,3,4\n"
    assert (tmp_path / "matrix.csv").read_text() == "defense,value\n'-1+1,-0.5\n"


def test_pictures_are_kept_with_their_captions(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    pictures = [np.full((4, 6, 3), 10 * i, dtype=np.uint8) for i in range(2)]
    logger.log_images("strip", pictures, ["nævus → melanoma", ""])
    with Image.open(tmp_path / "strip" / "0.png") as image:
        assert np.array_equal(np.asarray(image), pictures[0])
        assert image.info["Description"] == "nævus → melanoma"
    assert (tmp_path / "strip" / "captions.txt").read_text() == "0\tnævus → melanoma\n1\t\n"
    with pytest.raises(ValueError, match="argument 2"):
        logger.log_images("strip", pictures, ["one caption"])


@pytest.mark.parametrize("name", ["../up", "", "a b", "/abs", "a//b"])
def test_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="log name"):
        CsvLogger(tmp_path).log_matrix(name, pd.DataFrame())
