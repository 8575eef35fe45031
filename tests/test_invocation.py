"""The commands that are printed."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from medrobust.invocation import command, data_words
from medrobust.resolvers import register

CONF = str(Path(__file__).parents[1] / "conf")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch):
    """A running app, forgotten afterwards."""

    def start(*words: str) -> None:
        register()
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose("evaluate", list(words), return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)

    return start


def test_outside_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert command("train", ["data=toy", "a=b c"]) == "medrobust train data=toy 'a=b c'"
    assert data_words("toy", phantom=True) == (["data=toy", "data.phantom=true"], [])


def test_the_words_of_the_apps_data_are_repeated_and_of_other_data_not(app) -> None:
    app("data=dermamnist", "data.size=28", "data.limit_test=3", "paths.root=/x", "attack=fgsm")
    words, places = data_words("dermamnist", phantom=False)
    assert words == ["data=dermamnist", "data.size=28"]
    assert places == ["paths.root=/x"]
    assert data_words("toy", phantom=True) == (["data=toy", "data.phantom=true"], [])
    app("data=medmnist", "data.name=pathmnist")
    assert data_words("pathmnist", phantom=False)[0] == ["data=medmnist", "data.name=pathmnist"]
