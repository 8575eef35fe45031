"""Damaged or foreign files of a dataset: one clear error that names the file."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medrobust.data.aptos2019 import APTOS2019
from medrobust.data.chest_xray import ChestXRay
from medrobust.data.core.box import BoxReader, read_boxes
from medrobust.data.core.error import DataError
from medrobust.data.core.image import FileReader, classes_of, decoded, open_image
from medrobust.data.core.listing import images_in, read_table
from medrobust.data.core.manifest import Entry
from medrobust.data.isic2019 import ISIC2019
from medrobust.data.medmnist import MedMNIST


def test_an_image_of_too_many_pixels_is_named(tmp_path):
    path = tmp_path / "slide.png"
    Image.new("1", (14000, 14000)).save(path)
    with pytest.raises(
        DataError, match=r"slide\.png: .*196000000 pixels.*; make the image smaller"
    ):
        open_image(path)


def test_an_archive_damaged_in_its_stream_is_named(tmp_path):
    arrays = {}
    for split in ("train", "val", "test"):
        images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), dtype=np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": np.zeros((40, 1), np.uint8)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    start = content.find(b"train_images") + 400
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "x.npz").write_bytes(content)
    data = MedMNIST(tmp_path, tmp_path / "m", name="dermamnist", file="x.npz", md5=None, size=28)
    with pytest.raises(DataError, match=r"x\.npz: not a readable npz file .*; fetch it again"):
        data.setup()


def test_text_in_another_encoding_is_named(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text("id_code,diagnosis\na,1\n", encoding="utf-16")
    with pytest.raises(
        DataError, match=r"train\.csv: byte 0 is 0xff, expected text in UTF-8; save"
    ):
        list(read_table(table, ["id_code"]))
    boxes = tmp_path / "a.txt"
    boxes.write_bytes("0 0.5 0.5 0.2 0.2 é".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt: byte 18 is 0xe9, expected text in UTF-8; save"):
        read_boxes(boxes, ["a"])
    table.write_text("id_code\n" + "a" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"train\.csv, line 1: field larger than"):
        list(read_table(table, ["id_code"]))


def pneumonia(root, name: bytes):
    for split in ("train", "val", "test"):
        for kind in ("NORMAL", "PNEUMONIA"):
            folder = root / "chest_xray" / split / kind
            folder.mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / f"person{split}{kind}_1.jpeg")
    Image.new("L", (8, 8)).save(root / "a.jpeg")
    (root / "a.jpeg").rename(folder / os.fsdecode(name))
    return ChestXRay(root, root / "m", size=8)


def test_a_file_name_that_is_not_text_is_named(tmp_path):
    data = pneumonia(tmp_path, b"IM-\xe9-0001.jpeg")
    with pytest.raises(DataError, match=r"IM-\\udce9-0001\.jpeg' has a name that is not UTF-8"):
        data.setup()


@pytest.mark.parametrize("name", ["IM-\u2028-0001.jpeg", "IM-\n-0001.jpeg", "IM-\r-0001.jpeg"])
def test_a_file_name_with_a_line_break_is_read_back(tmp_path, name):
    first = pneumonia(tmp_path, name.encode())
    first.setup()
    again = ChestXRay(tmp_path, tmp_path / "m", size=8)
    again.setup()
    assert again.manifest == first.manifest


def test_a_damaged_manifest_is_made_again(tmp_path, caplog):
    first = pneumonia(tmp_path, b"IM-0001.jpeg")
    digest = first.manifest.digest
    (path,) = (tmp_path / "m").glob("*.csv")
    whole = path.read_bytes()
    for damage in (whole.replace(b",train,", b",val,", 1), whole[:-3], whole[:200], b"\xff"):
        path.write_bytes(damage)
        assert ChestXRay(tmp_path, tmp_path / "m", size=8).manifest.digest == digest
        assert path.read_bytes() == whole
    assert "is damaged (its checksum does not match); it is made again" in caplog.text


def test_a_label_that_is_no_table_is_named(tmp_path):
    (tmp_path / "train_images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "train_images" / "a.png")
    (tmp_path / "train.csv").write_bytes(b"id_code,diagnosis\na,\xff\n")
    with pytest.raises(DataError, match=r"train\.csv: byte 20 is 0xff"):
        APTOS2019(tmp_path, tmp_path / "m", size=8).setup()


def test_two_files_of_one_name_are_named(tmp_path):
    for name in ("a.jpg", "b.jpg", "a.JPG"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"a\.JPG and a\.jpg have the same name; rename"):
        images_in(tmp_path, (".jpg",))


def test_what_viewers_turn_is_refused_where_its_annotation_is_not(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    image, mask = tmp_path / "a.jpg", tmp_path / "m.png"
    Image.new("RGB", (8, 8)).save(image, exif=turned.tobytes())
    Image.new("L", (8, 8)).save(mask)
    with pytest.raises(DataError, match=r"a\.jpg: EXIF orientation 6 .*; rotate its pixels"):
        FileReader(8, 3, 3)(Entry("s/a", None, "a", None, (image, mask)))
    with pytest.raises(DataError, match=r"a\.jpg: EXIF orientation 6"):
        BoxReader({"s/a": []}, 8, 3, 3)(Entry("s/a", None, "a", None, (image,)))
    FileReader(8, 3, 3)(Entry("s/a", 0, "a", None, (image,)))  # a class lies nowhere
    Image.new("RGB", (8, 8)).save(image)
    FileReader(8, 3, 3)(Entry("s/a", None, "a", None, (image, mask)))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (0, 1), (4, 2), (6, 4)])
def test_sixteen_bits_of_any_colour_are_refused(tmp_path, colour, channels):
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", 4, 4, 16, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(8 * channels) for _ in range(4)))
    parts = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: pixel mode .*, expected 8 bits per channel"):
        open_image(tmp_path / "a.png")


def test_masks_are_read_by_what_they_show(tmp_path):
    marked = np.zeros((8, 8), np.uint8)
    marked[:2] = 255
    drawn, white = Image.fromarray(marked), Image.new("L", (8, 8), 255)
    path = tmp_path / "m.png"
    for mask in (
        drawn.convert("P", palette=Image.Palette.ADAPTIVE, colors=2),
        drawn.convert("RGB").convert("P"),
        drawn,
        Image.merge("LA", [drawn, white]),
    ):
        mask.save(path)
        assert np.array_equal(np.array(classes_of(decoded(path), path, 2)), marked // 255)
    for mask in (
        Image.merge("RGBA", [white, white, white, drawn]),
        Image.merge("LA", [white, drawn]),
    ):
        mask.save(path)
        with pytest.raises(DataError, match=r"m\.png: some pixels of the mask are transparent"):
            classes_of(decoded(path), path, 2)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["ISIC_0.jpg,L0", "ISIC_1,L1"], r"line 2: ISIC_0\.jpg is no image of"),
        (["ISIC_1,L1"], "no row for ISIC_0, so that its lesion is not known"),
    ],
)
def test_metadata_that_do_not_fit_the_images_are_named(tmp_path, metadata, message):
    folder = tmp_path / "ISIC_2019_Training_Input"
    folder.mkdir()
    truth = ["image," + ",".join((*ISIC2019.classes, "UNK"))]
    for i in range(2):
        Image.new("RGB", (8, 8)).save(folder / f"ISIC_{i}.jpg")
        truth.append(f"ISIC_{i}," + ",".join("1.0" if i == k else "0.0" for k in range(9)))
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join(truth))
    text = "\n".join(["image,lesion_id", *metadata])
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        ISIC2019(tmp_path, tmp_path / "m", size=8).setup()
