import pytest

from medrobust.data.aptos2019 import APTOS2019
from medrobust.data.aptos2019_binary import APTOS2019Binary
from medrobust.data.core.error import DataError
from medrobust.data.core.split import SPLITS


@pytest.fixture
def drawn(make_own):
    module = make_own("aptos2019")
    module.prepare_data()
    return module.folder


def read(folder, cls=APTOS2019):
    return cls(folder, folder.parent / "m", size=24)


def test_both_eyes_of_a_patient_share_a_split(drawn):
    table = drawn / "train.csv"
    text = table.read_text()
    for i in range(60):
        old, new = f"{i:012x}", f"{i // 2}_{('left', 'right')[i % 2]}"
        (drawn / "train_images" / f"{old}.png").rename(drawn / "train_images" / f"{new}.png")
        text = text.replace(f"\n{old},", f"\n{new},")
    table.write_text(text)
    module = read(drawn)
    patients = [
        {e.id.removesuffix("_left").removesuffix("_right") for e in module.dataset(s).entries}
        for s in SPLITS
    ]
    assert len(set.union(*patients)) == sum(len(p) for p in patients) == 70


def test_binary_joins_all_grades_of_disease(drawn):
    grades, binary = read(drawn), read(drawn, APTOS2019Binary)
    assert binary.num_classes == 2
    five = {r.id.split("/")[1]: r.label for r in grades.manifest.records}
    two = {r.id.split("/")[1]: r.label for r in binary.manifest.records}
    assert two == {name: int(grade > 0) for name, grade in five.items()}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("diagnosis", "grade", "no column 'diagnosis'"),
        ("00000000000a,", "00000000000a,9", "line 12: diagnosis '9"),
        ("00000000000a,", "00000000000b,", "line 13: id_code 00000000000b occurs twice"),
        ("00000000000a,", "gone,", r"line 12: no image .*gone\.png"),
    ],
)
def test_a_wrong_row_is_named(drawn, old, new, message):
    table = drawn / "train.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=rf"train\.csv.*{message}"):
        read(drawn).setup()
