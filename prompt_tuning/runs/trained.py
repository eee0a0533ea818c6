"""Finds what a run trained, checks it against its description, and loads it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from prompt_tuning import config, exchange, outputs, partitioning
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.methods import prompt as prompts
from prompt_tuning.runs import parts
from prompt_tuning.sections import path_problem
from prompt_tuning.settings import MeshShape, Settings
from prompt_tuning.t5.extra import Extra


class Source(NamedTuple):
    """A trained prompt or model.

    path: as given. said: its description. mesh: the one it was trained on, if known.
    """

    path: Path
    said: Mapping[str, Any]
    mesh: MeshShape | None = None


def find(model_dir: str, prompt: str | None) -> Source:
    """The given prompt's file or folder, else the run's own prompt.

    Raises:
      UserError: neither is given.
    """
    if not prompt and not model_dir:
        raise UserError(
            "there is no prompt to use: give --prompt=FILE, or the MODEL_DIR that "
            "`train` wrote, --gin.MODEL_DIR=runs/mine"
        )
    if problem := path_problem(prompt or model_dir):
        raise UserError(f"--prompt is {prompt!r}; it must be {problem}")
    path = Path(prompt or model_dir)
    return Source(path, exchange.read_description(path))


def base_settings(model_dir: str, source: Source) -> Settings:
    """The settings a run was made with, which hold where the user sets nothing.

    Raises:
      UserError: what the run or the prompt says are no settings.
    """
    file = Path(model_dir, "config.gin").absolute()
    there = [str(file)] if model_dir and file.is_file() else []
    kept = config.load(there)
    try:
        return config.changed(kept, exchange.said_settings(source.said))
    except UserError as error:
        raise UserError(
            f"what {source.path} says of itself cannot be ({error}): take its "
            "description from where it came from"
        ) from None


def load(
    settings: Settings, source: Source, frozen: parts.Model | None = None
) -> tuple[parts.Model, Any, Extra]:
    """The model, its parameters (tuned or frozen), and what else was trained.

    Args:
      frozen: the settings' frozen model, where it has been read before.

    Raises:
      UserError: nothing is there, or the description contradicts the settings or the
        frozen model.
    """
    path, said = source.path, source.said
    settings = on_these_devices(settings, source.mesh)
    exchange.check_settings(path, said, settings)
    if tuned := shipped_model(source):
        run = dataclasses.replace(settings.run, initial_checkpoint_path=str(tuned))
        model = parts.build(dataclasses.replace(settings, run=run))
        if not _ships_prompt(path):
            return model, model.params, Extra()
    else:
        model = frozen or parts.build(settings)
        name = settings.run.initial_checkpoint_path
        exchange.check(
            path,
            said,
            frozen_model=weights.fingerprint(name),
            name=name,
            vocabulary=model.vocabulary,
        )
    if said.get("ships_extra", exchange.find_extra(path) is not None):
        return model, model.params, _extra(source, model)
    prompt_PxD = exchange.load_prompt(path)
    name, width = settings.run.initial_checkpoint_path, model.network.config.emb_dim
    exchange.check_width(path, prompt_PxD.shape[1], name=name, width=width)
    placed = jax.device_put(prompt_PxD, partitioning.replicated(model.mesh))
    extra = prompts.placed(settings.run, placed, said.get("in_front"))
    return model, model.params, extra


def _extra(source: Source, model: parts.Model) -> Extra:
    """What a method trained that is more than a prompt, on the model's devices.

    Raises:
      UserError: it is not there, or does not fit the model.
    """
    path = exchange.find_extra(source.path)
    if path is None:
        raise UserError(
            f"{source.path} is of METHOD={source.said.get('method')}, which ships "
            f"{exchange.EXTRA}, and that is not there: give the folder of the finished "
            "run"
        )
    extra = exchange.load_extra(path)
    tasks = source.said.get("tasks") or {}
    if extra.bank is not None and len(extra.bank.vectors) != len(tasks):
        raise UserError(
            f"{path} holds prompts of {len(extra.bank.vectors)} tasks, but its "
            f"description names {len(tasks)}: copy both again from where they came from"
        )
    tokens = jax.ShapeDtypeStruct((1, 2), "int32")
    names = "encoder_input_tokens", "decoder_input_tokens"
    task = jax.ShapeDtypeStruct((1,), "int32")
    batch = dict.fromkeys(names, tokens) | {"task_ids": task}
    variables = {"params": model.params}
    try:
        jax.eval_shape(model.network.apply, variables, batch, extra)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not fit the frozen model ({str(error).splitlines()[0]}): "
            "give the frozen model that it was trained on"
        ) from None
    return jax.device_put(extra, partitioning.replicated(model.mesh))


def shipped_model(source: Source) -> Path | None:
    """The file of the weights that a run trained; None if they stayed frozen.

    Raises:
      UserError: they should be there, and are not.
    """
    path, said = source.path, source.said
    tuned = (path if path.is_dir() else path.parent) / exchange.MODEL
    if said.get("ships_model") and not tuned.is_file():
        raise UserError(
            f"{path} goes with the weights that were trained together with it, and "
            f"{tuned} is not there: give the folder of the finished run"
        )
    ships = said.get("ships_model", not _ships_prompt(path)) and tuned.is_file()
    return tuned if ships else None


def _ships_prompt(path: Path) -> bool:
    return not path.is_dir() or (path / exchange.PROMPT).exists()


def on_these_devices(settings: Settings, trained_on: MeshShape | None) -> Settings:
    """The settings, without the mesh of the training if these devices are no such."""
    mesh = settings.mesh
    if mesh != trained_on or partitioning.fits(mesh.data, mesh.model):
        return settings
    outputs.warn(
        f"the run's mesh of data={mesh.data} x model={mesh.model} is not to be had "
        f"from {jax.device_count()} devices; each holds the whole model"
    )
    return dataclasses.replace(settings, mesh=MeshShape())


def answers(
    settings: Settings, source: Source, model: parts.Model
) -> tuple[Sequence[str] | None, int]:
    """The label words, if there are any, and the longest answer in tokens.

    Both come from the description. Only without one is the task opened, which may need
    TensorFlow.
    """
    run, said = settings.run, source.said
    if "target_length" in said and said.get("task") == run.mixture_or_task_name:
        words, length = said.get("label_words"), said["target_length"]
    else:
        words = parts.open_task(run, model.vocabulary).label_words()
        length = parts.label_ids(words, model.vocabulary).shape[1] if words else 64
    return words, (run.task_feature_lengths or {}).get("targets", length)
