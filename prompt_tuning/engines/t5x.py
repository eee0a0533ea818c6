"""The same methods and tasks under T5X (github.com/google-research/t5x).

    python -m t5x.train --gin_file=gin/t5x/prompt_tune.gin --gin_file=gin/t5x/models/...

T5X launches, splits, trains, saves, evaluates and infers; what is here are our model,
optimizer, tasks and first state in its terms, bound by the files in gin/t5x. Its one
parameter tree is the frozen model's own with one entry more: `prompt` where a method
trains one array, else `trained`, a tree of dicts. What a method takes over of the
frozen model lies there, and not in the frozen tree too.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import absl.logging
import flax
import gin
import jax
import jax.numpy as jnp
import optax
from etils import epath
from flax import traverse_util
from flax.linen.partitioning import AxisMetadata
from jax.sharding import NamedSharding, PartitionSpec
from t5x import models, optimizers, train_state, utils

from prompt_tuning import exchange, methods, outputs, partitioning
from prompt_tuning.engines import gin_settings
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import description, weights
from prompt_tuning.frozen.vocabulary import check_vocabulary, load_vocabulary
from prompt_tuning.methods import prompt as prompts
from prompt_tuning.runs import parts, transfer
from prompt_tuning.settings import Run, Settings, Wayward
from prompt_tuning.t5 import decoding, network
from prompt_tuning.tasks_io import quiet, tasks
from prompt_tuning.training import optimizer

# T5X tells of metrics through seqio's log.
absl.logging.get_absl_logger().removeFilter(quiet.is_no_chatter)

gin_settings.register_with_gin()  # for gin/models/*.gin and the flags


# What the settings make.


@gin.configurable
def settings() -> Settings:
    """The settings that gin's bindings make, as config.load does elsewhere.

    Raises:
      UserError: a value makes no sense; or MODEL_DIR is not whole, as Orbax wants it.
    """
    made = gin_settings.from_gin()
    if made.run.decoding != "greedy":
        raise UserError(
            f"DECODING is {made.run.decoding!r}; T5X decodes greedily: leave it out, "
            "and evaluate with `prompt-tuning evaluate`"
        )
    if made.wayward != Wayward():
        raise UserError(
            "wayward.text and wayward.weight are of `prompt-tuning train` alone: leave "
            "them out under T5X"
        )
    folder = made.run.model_dir
    if folder and "://" not in folder and folder[0] != "/":
        raise UserError(
            f"MODEL_DIR is {folder!r}; T5X needs it from / on, such as "
            f"{Path(folder).absolute()}, or a bucket's"
        )
    return made


@gin.configurable
def task(settings: Settings) -> str:
    """Registers the run's task anew, as it is in our engine, and returns its name.

    T5X and seqio find tasks by name, and the registered one has a vocabulary of its
    own. Here it gets the frozen model's, and DATA_DIR's files.
    """
    run = settings.run
    fitted = _task(run, load_vocabulary(parts.vocabulary_name(run))).seqio_task
    registries = quiet.seqio.TaskRegistry, quiet.seqio.MixtureRegistry
    for part in {*quiet.seqio.get_subtasks(fitted), fitted}:
        registry = registries[isinstance(part, quiet.seqio.Mixture)]
        registry.remove(part.name)
        registry.add_provider(part.name, part)
    return fitted.name


def _task(run: Run, vocabulary: Any) -> tasks.SeqioTask:
    return tasks.open_task(
        run.mixture_or_task_name,
        run.mixture_or_task_module,
        vocabulary,
        run.data_dir,
        run.tfds_data_dir,
        run.task_feature_lengths,
    )


def _model(settings: Settings) -> parts.Model:
    """The frozen model without its weights; our mesh in it is not T5X's.

    Raises:
      UserError: T5Config keeps weights as T5X's checkpoints cannot.
    """
    run = settings.run
    config = description.config(run.initial_checkpoint_path, settings.model)
    if config.scan_layers or config.param_dtype != "float32":
        raise UserError(
            f"T5Config.scan_layers is {config.scan_layers} and T5Config.param_dtype "
            f"{config.param_dtype}; under T5X they must be False and float32, so "
            "that its checkpoints are those of every T5 1.1"
        )
    vocabulary = load_vocabulary(parts.vocabulary_name(run))
    check_vocabulary(vocabulary.vocab_size, config.vocab_size)
    mesh = partitioning.mesh()
    return parts.Model(mesh, network.Transformer(config), None, vocabulary)


@gin.configurable
def learning_rate(settings: Settings) -> optax.Schedule:
    """The rate that T5X reports; the optimizer has its own."""
    return optimizer.schedule(settings.schedule)


# One parameter tree.


def _joined(frozen: Any, trained: Any) -> flax.core.FrozenDict:
    """T5X's parameters: what is left frozen, and what is trained beside it."""
    flat = traverse_util.flatten_dict(methods.left_frozen(frozen, trained))
    left = {path: leaf for path, leaf in flat.items() if leaf is not None}
    key = "prompt" if jax.tree_util.all_leaves([trained]) else "trained"
    return flax.core.freeze(traverse_util.unflatten_dict(left) | {key: trained})


def _key(params: Any) -> str:
    """The name of what is trained among T5X's parameters."""
    return "prompt" if "prompt" in params else "trained"


class PromptOptimizer(optimizers.OptaxWrapper):
    """An optax optimizer of what is trained alone.

    Frozen weights go through it as they are: they have no state, and their gradients
    are not looked at, so that XLA makes none.
    """

    def init_state(self, params: Any) -> optimizers.OptimizerState:
        return super().init_state(params[_key(params)])

    def apply_gradient(
        self, hyper_params: Any, params: Any, state: Any, grads: Any
    ) -> tuple[Any, optimizers.OptimizerState]:
        key = _key(params)
        trained, state = super().apply_gradient(
            hyper_params, params[key], state, grads[key]
        )
        return params.copy({key: trained}), state

    def derive_logical_axes(self, optimizer: Any, param_logical_axes: Any) -> Any:
        state = jax.tree.map(lambda _: None, optimizer.state)  # whole on each device
        return optimizer.replace(target=param_logical_axes, state=state)


@gin.configurable
class PromptedT5(models.EncoderDecoderModel):
    """A frozen Transformer and what a method trains, decoding greedily, for T5X.

    Raises:
      UserError: a setting does not fit the rest, or not T5X.
    """

    def __init__(self, settings: Settings) -> None:
        self.parts = _model(settings)
        self.settings = settings = methods.worded(settings, self.parts.vocabulary)
        self.task = _task(settings.run, self.parts.vocabulary)
        self.method = methods.of(settings)
        if self.method.search:
            raise UserError(
                f"METHOD is {settings.run.method!r}, a search whose steps T5X's "
                "trainer does not make: run it with `prompt-tuning train`"
            )
        if not self.method.trains:
            raise UserError(
                f"METHOD is {settings.run.method!r}, which trains nothing: start it "
                "with `prompt-tuning train`, which needs no T5X"
            )
        vocabulary = tasks.seqio_vocabulary(self.parts.vocabulary)
        super().__init__(
            self.parts.network,
            input_vocabulary=vocabulary,
            output_vocabulary=vocabulary,
            optimizer_def=PromptOptimizer(optimizer.of(settings)),
            z_loss=1e-4,
        )

    def first(
        self, settings: Settings, frozen: Any, prompt: Any = None
    ) -> flax.core.FrozenDict:
        """T5X's parameters before the first step, as our engine starts.

        Args:
          prompt: the array [P, D] of PROMPT_FILE, where it starts from one.
        """
        whole = self.parts._replace(params=frozen)
        return _joined(frozen, parts.start(settings, self.task, whole, prompt))

    def get_initial_variables(
        self, rng: jax.Array, input_shapes: Any, input_types: Any = None
    ) -> flax.core.FrozenDict:
        """The shapes of all parameters, and their axes in T5X's terms.

        The values are read (FirstState, or T5X's restoring). What nothing reads stays
        NaN, which every loss shows, rather than random, which none does.
        """
        del rng, input_shapes, input_types
        shapes, axes = self._shapes_and_axes()
        values = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)
        return flax.core.freeze({"params": values, "params_axes": axes})

    def _shapes_and_axes(self) -> tuple[Any, dict[str, Any]]:
        """Of each parameter; axes that T5X has no rule for are not split."""
        specs = jax.tree.leaves(partitioning.logical_axes(self.module))
        # No shape depends on how a prompt starts, and this way needs no file or words.
        run = dataclasses.replace(self.settings.run, prompt_init="sampled_vocab")
        settings = dataclasses.replace(self.settings, run=run)
        axes = {}

        def first(frozen: Any) -> Any:
            params = self.first(settings, frozen)
            # An array that is trained now has the axes that it had when frozen.
            known = {
                id(leaf): tuple(axis if axis != "features" else None for axis in spec)
                for leaf, spec in zip(jax.tree.leaves(frozen), specs, strict=True)
            }
            for (*path, name), leaf in traverse_util.flatten_dict(params).items():
                names = known.get(id(leaf), (None,) * leaf.ndim)
                axes[*path, f"{name}_axes"] = AxisMetadata(names)
            return params

        shapes = jax.eval_shape(first, partitioning.param_shapes(self.module))
        return shapes, traverse_util.unflatten_dict(axes)

    def split(self, params: Any) -> tuple[Any, Any]:
        """(What is trained, the frozen tree with None where arrays are trained)."""
        frozen = flax.core.unfreeze(params)
        trained = frozen.pop(_key(params))
        left = traverse_util.flatten_dict(frozen)
        every = traverse_util.flatten_dict(partitioning.param_shapes(self.module))
        return trained, traverse_util.unflatten_dict(
            {path: left.get(path) for path in every}
        )

    def _compute_logits(
        self, params: Any, batch: Any, dropout_rng: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, S, V] whose gradient is that of what is trained alone.

        T5X differentiates all parameters. The frozen ones' gradients are zeros without
        a computation, which PromptOptimizer leaves unused.
        """
        trained, frozen = self.split(params)
        bound, extra = self.method.bind(trained, jax.lax.stop_gradient(frozen))
        drops = dropout_rng is not None and self.module.config.dropout_rate
        return self.module.apply(
            {"params": bound},
            batch,
            extra,
            rngs={"dropout": dropout_rng} if drops else None,
        )

    def predict_batch_with_aux(
        self, params: Any, batch: Any, rng: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Greedy predictions [B, S], as long as the batch's targets at most."""
        del rng
        bound, extra = self.method.bind(*self.split(params))
        tokens_BxS = decoding.greedy(
            self.module,
            bound,
            batch["encoder_input_tokens"],
            extra,
            batch["decoder_input_tokens"].shape[1],
        )
        return tokens_BxS, {}


class FirstState(utils.TrainStateInitializer):
    """Starts as our engine does: the frozen model's files, a prompt by PROMPT_INIT.

    So INITIAL_CHECKPOINT_PATH is whatever weights.load_frozen reads, steps count from
    0, and nothing stays random.
    """

    def __init__(
        self, optimizer_def: Any, init_fn: Any, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(optimizer_def, init_fn, *args, **kwargs)
        self._model = init_fn.__self__

    def from_scratch(self, init_rng: jax.Array) -> train_state.FlaxOptimTrainState:
        """The state before the first step; SEED counts, `init_rng` does not."""
        del init_rng
        model, mesh = self._model, self._partitioner.mesh
        run, found = model.settings.run, transfer.source(model.settings)
        prompt = exchange.load_prompt(found.path) if found else None
        frozen = weights.load_frozen(run.initial_checkpoint_path, model.module, mesh)
        variables = {
            "params": model.first(model.settings, frozen, prompt),
            "params_axes": self.global_train_state_shape.params_axes,
        }
        state = train_state.FlaxOptimTrainState.create(
            model.optimizer_def, flax.core.freeze(variables)
        )
        places = jax.tree.map(
            lambda spec: NamedSharding(mesh, spec or PartitionSpec()),
            self.train_state_axes,
            is_leaf=lambda spec: spec is None,
        )
        return jax.device_put(state, places)


# What is shipped.


@gin.configurable
def write_prompt(settings: Settings) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Makes the function that ships what is in a checkpoint that T5X saves.

    T5X gives it the state and saves what it returns, which is the same. It writes into
    MODEL_DIR, a folder here or in a bucket, what the end of `train` does: prompt.npy
    and its JSON; and each step's prompt as prompt_STEP.npy. A method that changes the
    model writes model.safetensors, of the last step alone.
    """
    model = _model(settings)
    settings = methods.worded(settings, model.vocabulary)
    method = methods.of(settings)
    about, model_dir = _description(settings, model), epath.Path(settings.run.model_dir)

    def write(state_dict: Any, parameter_infos: Any) -> tuple[Any, Any]:
        step, target = int(state_dict["state"]["step"]), state_dict["target"]
        trained = target[_key(target)]
        params, extra = method.fold(trained, target)
        own: dict[str, Any] = {"step": step}
        if method.tokens:
            tokens_P = method.tokens(trained, target)
            own |= exchange.in_words(tokens_P, model.vocabulary)
        with tempfile.TemporaryDirectory() as folder:
            exchange.save(
                Path(folder),
                params,
                extra,
                model.network.config,
                model.vocabulary,
                about | own | prompts.said(settings.run, extra),
            )
            for file in Path(folder).iterdir() if outputs.is_writer() else ():
                _copy(file, model_dir / file.name)
                if params is None:
                    _copy(file, model_dir / f"{file.stem}_{step}{file.suffix}")
        return state_dict, parameter_infos

    return write


def _copy(file: Path, to: epath.Path) -> None:
    """Whole or not at all."""
    part = to.with_name(f".{to.name}")
    epath.Path(file).copy(part, overwrite=True)
    part.replace(to)


def _description(settings: Settings, model: parts.Model) -> dict[str, Any]:
    """What a prompt says of itself, but for its step."""
    run = settings.run
    task = _task(run, model.vocabulary)
    development = task.load(run.eval_split, parts.input_length(run)).examples
    return exchange.description(
        settings,
        frozen_model=weights.fingerprint(run.initial_checkpoint_path),
        vocabulary=model.vocabulary,
        label_words=task.label_words(),
        target_length=development.lengths["targets"],
        width=model.network.config.emb_dim,
    )
