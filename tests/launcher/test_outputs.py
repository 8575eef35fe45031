"""The folder of a run is made before Hydra does it, or one sentence says why not."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from medrobust.launcher.outputs import OutputsCallback
from medrobust.resolvers import register

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_outputs_that_are_no_folder(
    multirun: bool, link: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "outputs"
    callback = OutputsCallback()
    start = callback.on_multirun_start if multirun else callback.on_run_start
    folders = {"run": {"dir": f"{place}/one/1"}, "sweep": {"dir": f"{place}/many/1"}}
    config = OmegaConf.create({"hydra": folders})
    start(config)
    assert (place / ("many" if multirun else "one") / "1").is_dir()
    place.rename(tmp_path / "away")
    place.symlink_to(tmp_path / "nowhere") if link else place.touch()
    with pytest.raises(SystemExit) as left:
        start(config)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"outputs: {place} is a {'link' if link else 'file'}")
    assert "paths.outputs" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["evaluate", "train"])
def test_both_programs_check_it(name: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, return_hydra_config=True)
    kinds = [node._target_ for node in config.hydra.callbacks.values()]
    assert kinds[0] == "medrobust.launcher.outputs.OutputsCallback"
