"""Kaggle-DR: the draw, both eyes of a patient, and rows that are wrong."""

import logging

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from medrobust.data.core.error import DataError
from medrobust.data.core.split import SPLITS
from medrobust.data.kaggle_dr import KaggleDR
from medrobust.number import NumberError


@pytest.fixture
def drawn(make_own):
    module = make_own("kaggle_dr")
    module.prepare_data()
    return module.folder


def read(folder, **keys):
    return KaggleDR(folder, folder.parent / "m", size=24, **keys)


def names(module):
    return {record.id for record in module.manifest.records}


def test_a_draw_is_of_the_seed_and_nested(drawn):
    sets = [names(read(drawn, draw=count)) for count in (60, 80, None)]
    assert sets[0] < sets[1] < sets[2]
    assert [len(one) for one in sets] == [60, 80, 100]
    assert names(read(drawn, draw=60)) == sets[0]
    assert names(read(drawn, draw=60, split_seed=1)) != sets[0]


def test_a_draw_disregards_grade_and_order(drawn):
    """Of many seeds, each image is drawn about as often; the order of the table has no say."""
    table = drawn / "trainLabels.csv"
    first, *rows = table.read_text().splitlines()
    before = names(read(drawn, draw=60))
    table.write_text("\n".join([first, *reversed(rows)]) + "\n")
    assert names(read(drawn, draw=60)) == before
    counts = dict.fromkeys([row.split(",")[0] for row in rows], 0)
    for seed in range(60):
        for entry in read(drawn, draw=30, split_seed=seed).entries():
            counts[entry.id.split("/")[1]] += 1
    share = np.array(list(counts.values())) / 60
    assert share.mean() == pytest.approx(0.3)
    assert abs(share - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 60)


def test_both_eyes_of_a_patient_share_a_split(drawn):
    module = read(drawn, draw=80)
    patients = [
        {e.id.split("/")[1].partition("_")[0] for e in module.dataset(s).entries} for s in SPLITS
    ]
    assert len(set.union(*patients)) == sum(map(len, patients)) < 80


def test_too_few_images_are_taken_whole_with_a_warning(drawn, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(names(read(drawn))) == 100
    assert "only 100 images for data.draw=11000" in caplog.text
    caplog.clear()
    read(drawn, draw=100).setup()
    assert "only" not in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("level", "grade", "no column 'level'"),
        ("\n7_left,", "\n7_left,9", "line 16: level '9"),
        ("\n7_left,", "\n7_right,", "line 17: image 7_right occurs twice"),
        ("\n7_left,", "\ngone_left,", r"line 16: no image .*gone_left\.jpeg"),
    ],
)
def test_a_wrong_row_is_named(drawn, old, new, message):
    table = drawn / "trainLabels.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=rf"trainLabels\.csv.*{message}"):
        read(drawn).setup()


def test_a_name_without_an_eye_is_refused(drawn):
    table = drawn / "trainLabels.csv"
    table.write_text(table.read_text().replace("\n7_left,", "\n7left,"))
    (drawn / "train/7_left.jpeg").rename(drawn / "train/7left.jpeg")
    with pytest.raises(DataError, match="image 7left, expected <id>_left or <id>_right"):
        read(drawn).setup()


def test_a_draw_of_nothing_is_refused(tmp_path):
    with pytest.raises(InstantiationException, match=r"data\.draw") as caught:
        instantiate({"_target_": "medrobust.data.kaggle_dr.KaggleDR"}, tmp_path, tmp_path, draw=0)
    assert isinstance(caught.value.__cause__, NumberError)
