"""Models and trainings as files: our own formats, and published checkpoints of the authors' code.

Ours are one safetensors file each: the tensors by name, and in its header, as JSON, the format
version, a model's sizes, and whatever the caller wants kept beside them. Nothing here ever
unpickles anything but tensors and plain containers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrurec.config import ModelConfig
from lrurec.model import LRURec
from lrurec.train import Trainer

Kind = Literal["model", "training"]
FORMATS: dict[Kind, str] = {"model": "lrurec", "training": "lrurec training"}
VERSION = 1


def save(path: str | Path, model: LRURec, extra: Mapping[str, Any] | None = None) -> None:
    """Write the model, and `extra` (anything JSON can hold), replacing `path` in one move.

    Raises OSError where that cannot be.
    """
    config = {"config": json.dumps(asdict(model.config))}
    _write(Path(path), "model", model.state_dict(), extra or {}, **config)


def load(path: str | Path) -> LRURec:
    """The model that `save` wrote, on the CPU, in evaluation mode.

    Raises FileNotFoundError, and ValueError where the file is not a model of this format version.
    """
    header = _header(path, "model")
    try:
        return _build(ModelConfig(**json.loads(header["config"])), load_file(path))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: sizes and tensors do not fit: {_one_line(error)}") from error


def load_extra(path: str | Path, kind: Kind = "model") -> dict[str, Any]:
    """What `save`, or `save_training`, was given as `extra`, without reading the tensors.

    Raises as `load`.
    """
    extra: dict[str, Any] = json.loads(_header(path, kind).get("extra", "{}"))
    return extra


def save_training(path: str | Path, trainer: Trainer, extra: Mapping[str, Any]) -> None:
    """Write all that `Trainer.state_dict` holds, and `extra`; otherwise as `save`."""
    _write(Path(path), "training", trainer.state_dict(), extra)


def load_training(path: str | Path, trainer: Trainer) -> None:
    """Bring `trainer` to where the saved one was; its model must have the same sizes.

    Raises as `load`.
    """
    _header(path, "training")
    try:
        trainer.load_state_dict(load_file(path))
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: not a state of this training: {_one_line(error)}") from error


def import_checkpoint(path: str | Path, dropout: float = 0.2) -> LRURec:
    """A published checkpoint (a torch file with a `model_state_dict`) as our model; same scores.

    The dropout rate, for training on, is not in such a file. Raises FileNotFoundError, and
    ValueError where the file holds anything else, or objects other than tensors and plain
    containers (those are never unpickled).
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; give the path of one")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none makes the reader stumble over
        raise ValueError(
            f"{path}: not a torch checkpoint of tensors alone; "
            "save it again as {'model_state_dict': model.state_dict()}"
        ) from error
    published = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(published, dict):
        raise ValueError(f"{path}: no model_state_dict in it; give a checkpoint of LRURec")
    try:
        items, width, blocks, tensors = _translate(published)
        return _build(ModelConfig(items, width, blocks, dropout), tensors)
    except KeyError as error:
        raise ValueError(f"{path}: parameter {error} is missing; not an LRURec") from error
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not the weights of an LRURec: {_one_line(error)}") from error


def _translate(published: Mapping[str, Tensor]) -> tuple[int, int, int, dict[str, Tensor]]:
    """Items, width, blocks, and the authors' parameters by our names, complex ones as stacked
    real parts (see `layers`)."""
    left = dict(published)
    rows, width = left["embedding.token.weight"].shape
    tensors = {
        "embedding": left.pop("embedding.token.weight"),
        "norm.weight": left.pop("embedding.layer_norm.weight"),
        "norm.bias": left.pop("embedding.layer_norm.bias"),
        "item_bias": left.pop("model.bias"),
    }
    blocks = 0
    while f"model.lru_blocks.{blocks}.lru_layer.params_log" in left:
        theirs, ours = f"model.lru_blocks.{blocks}.", f"blocks.{blocks}."
        lru, feed = theirs + "lru_layer.", theirs + "feed_forward."
        nu, theta, gamma = left.pop(lru + "params_log")
        b, c = left.pop(lru + "in_proj.weight"), left.pop(lru + "out_proj.weight")
        b_bias, c_bias = left.pop(lru + "in_proj.bias"), left.pop(lru + "out_proj.bias")
        tensors |= {
            ours + "lru.nu_log": nu,
            ours + "lru.theta_log": theta,
            ours + "lru.gamma_log": gamma,
            ours + "lru.in_weight": torch.cat((b.real, b.imag)),
            ours + "lru.in_bias": torch.cat((b_bias.real, b_bias.imag)),
            ours + "lru.out_weight": torch.cat((c.real, -c.imag), 1),
            ours + "lru.out_bias": c_bias.real,
        }
        for kind in ("weight", "bias"):
            tensors |= {
                f"{ours}lru.norm.{kind}": left.pop(f"{lru}layer_norm.{kind}"),
                f"{ours}feed_forward.norm.{kind}": left.pop(f"{feed}layer_norm.{kind}"),
                f"{ours}feed_forward.{kind}_1": left.pop(f"{feed}w_1.{kind}"),
                f"{ours}feed_forward.{kind}_2": left.pop(f"{feed}w_2.{kind}"),
            }
        blocks += 1
    if left:
        raise ValueError(f"unknown parameter {min(left)!r}")
    return rows - 1, width, blocks, tensors


def _build(config: ModelConfig, tensors: Mapping[str, Tensor]) -> LRURec:
    """Raises ValueError where a value is not finite, RuntimeError where a shape does not fit."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
    model = LRURec(config, seed=0)
    model.load_state_dict(dict(tensors))
    return model.eval()


def _write(
    target: Path, kind: Kind, tensors: Mapping[str, Tensor], extra: Mapping[str, Any], **header: str
) -> None:
    header |= {
        "format": FORMATS[kind],
        "version": str(VERSION),
        "extra": json.dumps(dict(extra)),
    }
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = target.with_name(target.name + ".partial")
    try:
        save_file(stored, partial, metadata=header)
    except SafetensorError as error:
        message = f"{target}: cannot be written; give another one: {_one_line(error)}"
        raise OSError(message) from error
    partial.replace(target)


def _header(path: str | Path, kind: Kind) -> dict[str, str]:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such {kind} file")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a {kind} file: {_one_line(error)}") from error
    if header.get("format") != FORMATS[kind]:
        raise ValueError(f"{path}: a safetensors file, but not a {kind} of this project")
    if header.get("version") != str(VERSION):
        raise ValueError(
            f"{path}: format version {header.get('version')}, this program reads {VERSION}; "
            "use the version of lrustream that wrote it"
        )
    return header


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
