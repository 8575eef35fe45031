import pytest
import torch
from sklearn.metrics import jaccard_score

from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.prediction import Prediction


def answer(labels: torch.Tensor, classes: int = 3) -> Prediction:
    return Prediction(torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float())


def test_misclassified() -> None:
    prediction = answer(torch.tensor([0, 1, 2]))
    y = torch.tensor([0, 2, 2])
    assert Misclassified().away(prediction, y).tolist() == [False, True, False]
    assert Misclassified().toward(prediction, y).tolist() == [True, False, True]


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_jaccard_against_sklearn(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (30, 6, 7), generator=generator)
    flip = torch.rand(30, 6, 7, generator=generator) < torch.linspace(0, 0.9, 30)[:, None, None]
    found = y ^ flip
    wanted = [
        jaccard_score(a.flatten().numpy(), b.flatten().numpy()) < level
        for a, b in zip(y, found, strict=True)
    ]
    assert JaccardBelow(level).away(answer(found, 2), y).tolist() == wanted
    assert JaccardBelow(level).toward(answer(found, 2), y).tolist() == [not w for w in wanted]


def test_jaccard_without_foreground() -> None:
    nothing = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert not JaccardBelow(1.0).away(answer(nothing), nothing).any()
    assert JaccardBelow(0.5).away(answer(nothing + 1), nothing).all()


@pytest.mark.parametrize("level", [0, 1.2])
def test_bad_level(level: float) -> None:
    with pytest.raises(ValueError, match=r"criterion\.level="):
        JaccardBelow(level)
