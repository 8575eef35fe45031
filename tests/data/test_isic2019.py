import pytest

from medrobust.data.core.error import DataError
from medrobust.data.core.split import SPLITS
from medrobust.data.isic2019 import ISIC2019

TRUTH = "ISIC_2019_Training_GroundTruth.csv"


@pytest.fixture
def drawn(make_own):
    module = make_own("isic2019")
    module.prepare_data()
    return module.folder


def read(folder):
    return ISIC2019(folder, folder.parent / "m", size=24)


def edit(folder, line, change):
    path = folder / TRUTH
    lines = path.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    path.write_text("\n".join(lines) + "\n")


def test_ids_and_labels_are_those_of_the_table(drawn):
    rows = [line.split(",") for line in (drawn / TRUTH).read_text().splitlines()[1:]]
    expected = {f"isic2019/{row[0]}": row.index("1.0") - 1 for row in rows}
    module = read(drawn)
    found = {s.id: s.label.item() for split in SPLITS for s in module.dataset(split)}
    assert found == expected
    assert module.key == "isic2019_24px"


def test_unknown_is_left_out(drawn):
    edit(drawn, 4, lambda line: "ISIC_0000002" + ",0.0" * 8 + ",1.0")
    records = read(drawn).manifest.records
    assert len(records) == 99
    assert "isic2019/ISIC_0000002" not in {r.id for r in records}


def test_images_of_a_lesion_share_a_split(drawn):
    lesions = [f"ISIC_{i:07d},L{i // 4}" if i < 80 else f"ISIC_{i:07d}," for i in range(100)]
    text = "\n".join(["image,lesion_id", *lesions])
    (drawn / "ISIC_2019_Training_Metadata.csv").write_text(text + "\n")
    module = read(drawn)
    groups = [{e.group for e in module.dataset(split).entries} for split in SPLITS]
    assert sum(len(g) for g in groups) == len(set.union(*groups)) == 20 + 20


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, lambda text: text.replace("BKL", "BK"), "no column 'BKL', only"),
        (3, lambda text: text.replace("1.0", "0.0"), "line 3: ISIC_0000001 has 1 in"),
        (3, lambda text: text.replace("1.0", "0.5"), "line 3: ISIC_0000001 has 1 in"),
        (3, lambda text: text.replace("1.0", "x"), "line 3: could not convert"),
        (3, lambda text: text + ",0.0", "line 3: expected 10 fields"),
        (
            3,
            lambda text: text.replace("0000001", "0000009"),
            "line 11: ISIC_0000009 occurs twice",
        ),
        (3, lambda text: text.replace("0000001", "7777777"), "line 3: no image .*ISIC_7777777.jpg"),
    ],
)
def test_a_wrong_row_is_named(drawn, line, change, message):
    edit(drawn, line, change)
    with pytest.raises(DataError, match=rf"{TRUTH}.*{message}"):
        read(drawn).setup()


def test_an_image_without_a_row_is_named(drawn):
    folder = drawn / "ISIC_2019_Training_Input"
    (folder / "ISIC_0000100.jpg").write_bytes((folder / "ISIC_0000000.jpg").read_bytes())
    with pytest.raises(DataError, match=r"ISIC_0000100\.jpg: no row for it"):
        read(drawn).setup()
