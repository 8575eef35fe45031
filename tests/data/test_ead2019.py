"""Boxes of ead2019: read, scaled, split, moved by augmentation, and refused when wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from medrobust.data.core.box import augmented_boxes, read_boxes
from medrobust.data.core.dataset import AugmentedDataset
from medrobust.data.core.error import DataError, MissingDataError
from medrobust.data.ead2019 import EAD2019
from medrobust.data.phantom.artefact import KINDS, paint_artefacts


@pytest.fixture
def write(tmp_path):
    """Writes ten images of 40x20 pixels, the first with the given lines, and reads them at 40."""

    def make(*lines, **keys):
        folder = tmp_path / "trainingData_detection"
        folder.mkdir(exist_ok=True)
        for i in range(10):
            Image.fromarray(np.full((20, 40, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
            text = "\n".join(lines) if i == 0 else "6 0.5 0.5 0.5 0.5\n"
            (folder / f"{i}.txt").write_text(text)
        return EAD2019(tmp_path, tmp_path / "manifests", size=40, **keys)

    return make


def samples(module):
    found = {}
    for split in ("train", "val", "test"):
        found |= {sample.id: sample for sample in module.dataset(split)}
    return found


def test_boxes_are_scaled_to_the_square_and_filled_up(write):
    found = samples(write("0 0.25 0.5 0.5 1", "bubbles 0.5 0.75 0.1 0.5", ""))
    assert len(found) == 10
    label = found["ead2019/0"].label
    assert label.dtype == torch.float32
    assert torch.allclose(label, torch.tensor([[0.0, 0, 0, 20, 40], [5, 18, 20, 22, 40]]))
    filled = torch.tensor([[6.0, 10, 10, 30, 30], [-1, 0, 0, 0, 0]])
    assert torch.equal(found["ead2019/1"].label, filled)
    assert found["ead2019/0"].image.shape == (3, 40, 40)


def test_an_image_without_boxes_stays(write):
    found = samples(write())
    assert (found["ead2019/0"].label[:, 0] == -1).all()


def test_a_changed_box_changes_the_manifest(write):
    before = write("0 0.5 0.5 0.5 0.5").manifest.digest
    assert write("0 0.5 0.5 0.5 0.6").manifest.digest != before
    assert write("0 0.5 0.5 0.5 0.5").manifest.digest == before


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 0.5 0.5 0.5", "expected class, x_center, y_center, width and height"),
        ("0 0.5 0.5 0.5 0.5 0.9", "expected class"),
        ("0 0.5 half 0.5 0.5", "expected four numbers"),
        ("7 0.5 0.5 0.5 0.5", "class '7', expected 0 to 6 or one of"),
        ("polyp 0.5 0.5 0.5 0.5", "class 'polyp'"),
        ("-1 0.5 0.5 0.5 0.5", "class '-1'"),
        ("0 0.5 0.5 0 0.5", "width 0.0 and height 0.5, expected > 0"),
        ("0 0.5 0.5 0.5 -0.5", "expected > 0"),
        ("0 0.5 0.5 nan 0.5", "expected > 0"),
        ("0 0.9 0.5 0.5 0.5", r"from \(0.65, 0.25\) to \(1.15, 0.75\).*expected it inside"),
        ("0 nan 0.5 0.5 0.5", "expected it inside"),
        ("0 45 20 10 10", "expected it inside"),
    ],
)
def test_a_wrong_line_is_named(write, line, what):
    with pytest.raises(DataError, match=rf"0\.txt, line 2: .*{what}"):
        write("0 0.5 0.5 0.5 0.5", line).setup()


def test_rounding_at_the_edge_is_cut(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 0.2501 0.5 0.504 1.0\n")
    (box,) = read_boxes(path, EAD2019.classes)
    assert box.left == 0.0
    assert box.bottom == 1.0


def test_files_without_their_other_half_are_named(write, tmp_path):
    module, folder = write("0 0.5 0.5 0.5 0.5"), tmp_path / "trainingData_detection"
    (folder / "3.txt").unlink()
    with pytest.raises(DataError, match=r"3\.png: no file 3\.txt of its boxes"):
        module.setup()
    (folder / "3.png").unlink()
    (folder / "4.png").unlink()
    with pytest.raises(DataError, match=r"4\.txt: no image of this name"):
        module.setup()
    (folder / "4.txt").unlink()
    (folder / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"notes\.md: expected only"):
        module.setup()


def test_missing_data_say_where_they_are(tmp_path):
    with pytest.raises(MissingDataError, match=r"c7fjbxcgj9(.|\n)*data.phantom=true"):
        EAD2019(tmp_path, tmp_path).setup()


def test_labels_are_no_classes(write):
    with pytest.raises(TypeError, match="labels are boxes; take them from dataset"):
        write("0 0.5 0.5 0.5 0.5").labels("train")


# Augmentation ------------------------------------------------------------------------------


IMAGE = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([[2.0, 4, 10, 14, 30], [5, 20, 0, 40, 12], [-1, 0, 0, 0, 0]])


def test_a_flip_moves_boxes():
    image, label = augmented_boxes(v2.RandomHorizontalFlip(1.0), IMAGE, LABEL)
    assert torch.equal(torch.as_tensor(image), IMAGE.flip(2))
    assert torch.equal(
        label, torch.tensor([[2.0, 26, 10, 36, 30], [5, 0, 0, 20, 12], [-1] + 4 * [0]])
    )


def test_boxes_that_leave_the_image_are_cut_or_dropped():
    shift = v2.Lambda(lambda part: v2.functional.affine(part, 0.0, [22, 0], 1.0, [0.0]))
    _, label = augmented_boxes(shift, IMAGE, LABEL)
    assert torch.equal(label[0], torch.tensor([2.0, 26, 10, 36, 30]))
    assert (label[1:, 0] == -1).all()  # the second has left


def test_colours_leave_boxes(write):
    data = write("0 0.5 0.5 0.5 0.5").dataset("train")
    bright = AugmentedDataset(data, len(data), v2.ColorJitter(brightness=0.5))
    assert torch.equal(bright[0].label, data[0].label)
    assert bright[0].label is not data[0].label


def blind(image, boxes):
    return image.flip(2)


def test_what_cannot_move_boxes_is_refused():
    for transform in (lambda image: image.flip(2), lambda image, boxes: (image, boxes.tolist())):
        with pytest.raises((TypeError, AttributeError), match=r"torchvision.transforms.v2|shape"):
            augmented_boxes(transform, IMAGE, LABEL)
    with pytest.raises(TypeError, match=r"transforms\.v2"):
        augmented_boxes(blind, IMAGE, LABEL)
    with pytest.raises(
        TypeError, match=r"changed the image to \(20, 20\) pixels but not its boxes"
    ):
        augmented_boxes(lambda image, boxes: (image[:, ::2, ::2], boxes), IMAGE, LABEL)


# Phantom -----------------------------------------------------------------------------------


def test_the_phantom_has_every_class_inside_its_images(tmp_path):
    images, boxes = paint_artefacts(80, 64, seed=0)
    again, same = paint_artefacts(80, 64, seed=0)
    assert np.array_equal(images, again)
    assert boxes == same
    assert {one.label for drawn in boxes for one in drawn} == set(range(len(KINDS)))
    for drawn in boxes:
        assert 1 <= len(drawn) <= 3
        for _, (left, top, right, bottom) in drawn:
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64


def test_the_phantom_is_read_as_it_was_drawn(tmp_path):
    module = EAD2019(tmp_path, tmp_path / "m", size=64, phantom=True, phantom_n=30)
    _, boxes = paint_artefacts(30, 64, seed=0)
    for name, sample in samples(module).items():
        drawn = boxes[int(name.rpartition("/")[2])]
        wanted = torch.tensor([[label, *box] for label, box in drawn], dtype=torch.float32)
        assert torch.allclose(sample.label[: len(drawn)], wanted, atol=1e-3)
