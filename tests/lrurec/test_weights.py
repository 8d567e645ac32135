"""What is saved comes back; what is no model is refused in one line and never unpickled."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from lrurec.batches import pack
from lrurec.config import ModelConfig, TrainConfig
from lrurec.model import LRURec
from lrurec.train import Trainer
from lrurec.weights import (
    import_checkpoint,
    load,
    load_extra,
    load_training,
    save,
    save_training,
)


@pytest.fixture
def model():
    return LRURec(ModelConfig(items=7, width=4, blocks=1, dropout=0.5), seed=0)


def test_a_saved_model_comes_back(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, model, {"version": 3, "note": "ä"})
    again = load(path)
    assert again.config == model.config
    assert not again.training
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert load_extra(path) == {"version": 3, "note": "ä"}
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_saved_training_comes_back(model, tmp_path):
    path = tmp_path / "training.safetensors"
    batch = pack([torch.arange(1, 8).numpy()], 10)
    trainer = Trainer(model, TrainConfig(), seed=0)
    trainer.step(batch)
    save_training(path, trainer, {"step": 1})
    again = Trainer(LRURec(model.config, seed=9), TrainConfig(), seed=9)
    load_training(path, again)
    assert load_extra(path, "training") == {"step": 1}
    assert again.step(batch) == trainer.step(batch)
    assert again.step(batch) == trainer.step(batch)  # the moments came along


def test_a_training_is_no_model_and_fits_its_own_sizes_alone(model, tmp_path):
    path = tmp_path / "training.safetensors"
    save_training(path, Trainer(model, TrainConfig(), seed=0), {})
    with pytest.raises(ValueError, match="not a model of this project"):
        load(path)
    other = LRURec(ModelConfig(items=8, width=4, blocks=1), seed=0)
    with pytest.raises(ValueError, match="not a state of this training"):
        load_training(path, Trainer(other, TrainConfig(), seed=0))


def test_a_failed_save_leaves_the_old_model(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, model)
    with pytest.raises(TypeError):
        save(path, LRURec(model.config, seed=9), {"not json": object()})
    assert torch.equal(load(path).embedding, model.embedding)


def test_files_that_are_no_model_are_refused(model, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="no such model"):
        load(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match="not a model file"):
        load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a model of this project"):
        load(path)


def test_other_versions_and_damaged_models_are_refused(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, model)
    tensors = load_file(path)
    header = {"format": "lrurec", "version": "1", "config": '{"items": 7, "width": 4, "blocks": 1}'}
    save_file(tensors, path, metadata={**header, "version": "2"})
    with pytest.raises(ValueError, match="format version 2, this program reads 1"):
        load(path)
    save_file(tensors, path, metadata={**header, "config": '{"items": 8}'})
    with pytest.raises(ValueError, match="do not fit"):
        load(path)
    save_file({**tensors, "item_bias": torch.full((8,), torch.nan)}, path, metadata=header)
    with pytest.raises(ValueError, match="item_bias holds values that are not finite"):
        load(path)


class Malice:
    def __reduce__(self):
        return os.mkdir, (self.trap,)


def test_importing_never_runs_what_a_file_holds(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    Malice.trap = str(trap)
    torch.save({"model_state_dict": {"embedding.token.weight": Malice()}}, path)
    with pytest.raises(ValueError, match="tensors alone"):
        import_checkpoint(path)
    path.write_bytes(pickle.dumps(Malice(), protocol=2))
    with pytest.raises(ValueError, match="tensors alone"):
        import_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "no model_state_dict"),
        ([1, 2], "no model_state_dict"),
        ({"model_state_dict": {}}, "'embedding.token.weight' is missing"),
        ({"model_state_dict": {"embedding.token.weight": "text"}}, "not the weights"),
        ({"model_state_dict": {"embedding.token.weight": torch.zeros(3)}}, "not the weights"),
    ],
)
def test_other_torch_files_are_refused(content, message, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        import_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_said_in_one_line(model, tmp_path):
    with pytest.raises(OSError, match="cannot be written; give another one") as caught:
        save(tmp_path / "none" / "model.safetensors", model)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_checkpoint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        import_checkpoint(tmp_path / "none.pth")
    path = tmp_path / "broken.pth"
    for content in (b"", b"PK\x03\x04 cut off", b"\x80\x02garbage"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a torch checkpoint"):
            import_checkpoint(path)
