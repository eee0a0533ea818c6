"""The same prompts and tasks under T5X (github.com/google-research/t5x).

    python -m t5x.train --gin_file=gin/t5x/prompt_tune.gin --gin_file=gin/t5x/models/...

T5X launches, splits, trains, saves, evaluates and infers; what is here are our model,
optimizer, tasks and first state in its terms, bound by the files in gin/t5x. The
parameters are T5X's own tree of the frozen model with one leaf more, `prompt` [P, D].
The macros are those of every run (run.Run's fields in capitals).
"""

import tempfile
from pathlib import Path
from typing import Any

import absl.logging
import flax
import gin
import jax
import jax.numpy as jnp
from etils import epath
from flax import traverse_util
from flax.linen.partitioning import AxisMetadata
from jax.sharding import NamedSharding
from t5x import models, optimizers, train_state, utils

from prompt_tuning import config, outputs, partitioning, run
from prompt_tuning.errors import UserError
from prompt_tuning.frozen import weights
from prompt_tuning.t5 import decoding, network
from prompt_tuning.t5.extra import Extra
from prompt_tuning.tasks_io import data
from prompt_tuning.training import checkpoints, optimizer

# T5X tells of metrics through seqio's log.
absl.logging.get_absl_logger().removeFilter(data.is_no_chatter)


@gin.configurable
def settings() -> run.Run:
    """The run that the macros describe, as config.parse makes it of them elsewhere.

    Raises:
      UserError: a value makes no sense; or MODEL_DIR is not whole, as Orbax wants it.
    """

    def bound(name: str) -> bool:
        try:
            gin.query_parameter(f"%{name}")
        except ValueError:
            return False
        return True

    def value(name: str) -> Any:
        with gin.config_scope(name):
            return gin.get_configurable("gin.macro")()

    with gin.config_scope(None):  # T5X builds each data set in a scope of its own
        # Steps are T5X's affair; none at all is an evaluation there.
        names = config.settings() - {"TRAIN_STEPS"}
        values = {name: value(name) for name in names if bound(name)}
    made = run.Run(**{name.lower(): value for name, value in values.items()})
    if made.model_dir and "://" not in made.model_dir and made.model_dir[0] != "/":
        raise UserError(
            f"MODEL_DIR is {made.model_dir!r}; T5X needs it from / on, such as "
            f"{Path(made.model_dir).absolute()}, or a bucket's"
        )
    return made


@gin.configurable
def task(settings: run.Run) -> str:
    """Registers the run's task anew, as it is in our engine, and returns its name.

    T5X and seqio find tasks by name, and the registered one has a vocabulary of its
    own. Here it gets the frozen model's, and DATA_DIR's files.
    """
    fitted = _fitted_task(settings)
    registries = data.seqio.TaskRegistry, data.seqio.MixtureRegistry
    for part in {*data.seqio.get_subtasks(fitted), fitted}:
        registry = registries[isinstance(part, data.seqio.Mixture)]
        registry.remove(part.name)
        registry.add_provider(part.name, part)
    return fitted.name


def _fitted_task(settings: run.Run) -> data.Task:
    return data.get_task(
        settings.mixture_or_task_name,
        settings.mixture_or_task_module,
        run.load_vocabulary(settings),
        settings.data_dir,
        settings.tfds_data_dir,
    )


class PromptOptimizer(optimizers.OptaxWrapper):
    """An optax optimizer of the prompt alone.

    Frozen weights go through it as they are: they have no state, and their gradients
    are not looked at, so that XLA makes none.
    """

    def init_state(self, params: Any) -> optimizers.OptimizerState:
        return super().init_state(params["prompt"])

    def apply_gradient(
        self, hyper_params: Any, params: Any, state: Any, grads: Any
    ) -> tuple[Any, optimizers.OptimizerState]:
        prompt_PxD, state = super().apply_gradient(
            hyper_params, params["prompt"], state, grads["prompt"]
        )
        return params.copy({"prompt": prompt_PxD}), state

    def derive_logical_axes(self, optimizer: Any, param_logical_axes: Any) -> Any:
        state = jax.tree.map(lambda _: None, optimizer.state)  # whole on each device
        return optimizer.replace(target=param_logical_axes, state=state)


@gin.configurable
class PromptedT5(models.EncoderDecoderModel):
    """A frozen Transformer and a prompt, with greedy decoding, as a T5X model.

    Raises:
      UserError: T5Config keeps weights as T5X's checkpoints cannot.
    """

    def __init__(self, settings: run.Run) -> None:
        size = network.T5Config()
        if size.scan_layers or size.param_dtype != "float32":
            raise UserError(
                f"T5Config.scan_layers is {size.scan_layers} and T5Config.param_dtype "
                f"{size.param_dtype}; under T5X they must be False and float32, so "
                "that its checkpoints are those of every T5 1.1"
            )
        self.settings = settings
        vocabulary = run.load_vocabulary(settings)
        data.check_vocabulary(vocabulary.vocab_size, size.vocab_size)
        super().__init__(
            network.Transformer(size),
            input_vocabulary=vocabulary,
            output_vocabulary=vocabulary,
            optimizer_def=PromptOptimizer(optimizer.adafactor(optimizer.schedule())),
            z_loss=1e-4,
        )

    def get_initial_variables(
        self, rng: jax.Array, input_shapes: Any, input_types: Any = None
    ) -> flax.core.FrozenDict:
        """The shapes of all parameters, and their axes in T5X's terms.

        The values are read (FirstState, or T5X's restoring). What nothing reads stays
        NaN, which every loss shows, rather than random, which none does.
        """
        del rng, input_shapes, input_types
        prompt = self.settings.prompt_length, self.module.config.emb_dim
        shapes = partitioning.param_shapes(self.module) | {
            "prompt": jax.ShapeDtypeStruct(prompt, jnp.float32)
        }
        values = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)
        return flax.core.freeze({"params": values, "params_axes": self._axes()})

    def _axes(self) -> dict[str, Any]:
        """Each parameter's axes; those that T5X has no rule for are not split."""
        flat = traverse_util.flatten_dict(partitioning.logical_axes(self.module))
        flat[("prompt",)] = (None, None)
        return traverse_util.unflatten_dict(
            {
                (*path, f"{name}_axes"): AxisMetadata(
                    tuple(axis if axis != "features" else None for axis in axes)
                )
                for (*path, name), axes in flat.items()
            }
        )

    def _compute_logits(
        self, params: Any, batch: Any, dropout_rng: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, S, V] whose gradient is the prompt's alone.

        T5X differentiates all parameters. The weights' gradients are zeros without a
        computation, which PromptOptimizer leaves unused.
        """
        frozen, prompt_PxD = flax.core.pop(params, "prompt")
        drops = dropout_rng is not None and self.module.config.dropout_rate
        return self.module.apply(
            {"params": jax.lax.stop_gradient(frozen)},
            batch,
            self._extra(prompt_PxD),
            rngs={"dropout": dropout_rng} if drops else None,
        )

    def _extra(self, prompt_PxD: jax.Array) -> Extra:
        return Extra(run.PLACES[self.settings.prompt_place](prompt_PxD))

    def predict_batch_with_aux(
        self, params: Any, batch: Any, rng: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Greedy predictions [B, S], as long as the batch's targets at most."""
        del rng
        frozen, prompt_PxD = flax.core.pop(params, "prompt")
        tokens_BxS = decoding.greedy(
            self.module,
            frozen,
            batch["encoder_input_tokens"],
            self._extra(prompt_PxD),
            batch["decoder_input_tokens"].shape[1],
        )
        return tokens_BxS, {}


class FirstState(utils.TrainStateInitializer):
    """Starts as our engine does: the frozen model's files, and a prompt by PROMPT_INIT.

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
        settings = model.settings
        frozen = weights.load_frozen(
            settings.initial_checkpoint_path, model.module, mesh
        )
        parts = run.Setup(mesh, model.module, frozen, _fitted_task(settings))
        params = flax.core.freeze(
            frozen | {"prompt": run.initial_prompt(settings, parts)}
        )
        places = jax.tree.map(
            lambda spec: NamedSharding(mesh, spec), self.train_state_axes.params
        )
        variables = {
            "params": jax.device_put(params, places),
            "params_axes": model._axes(),
        }
        state = train_state.FlaxOptimTrainState.create(
            model.optimizer_def, flax.core.freeze(variables)
        )
        return partitioning.placed(state, mesh)


@gin.configurable
def write_prompt(
    state_dict: dict[str, Any], parameter_infos: Any, *, settings: run.Run
) -> tuple[dict[str, Any], Any]:
    """Writes the prompt of a checkpoint that T5X saves, which is left as it is.

    In MODEL_DIR, a folder here or in a bucket: prompt.npy, the last one, and
    prompt_STEP.npy, each with its JSON, as `prompt-tuning` reads them.
    """
    step = int(state_dict["state"]["step"])
    prompt_PxD = state_dict["target"]["prompt"]
    description = run.description(settings, prompt_PxD.shape[1], step)
    if outputs.is_writer():
        with tempfile.TemporaryDirectory() as folder:
            for name in (f"prompt_{step}.npy", "prompt.npy"):
                checkpoints.save_prompt(Path(folder, name), prompt_PxD, description)
            for file in Path(folder).iterdir():
                copy = epath.Path(settings.model_dir) / file.name
                copy.with_name(f".{file.name}").write_bytes(file.read_bytes())
                copy.with_name(f".{file.name}").replace(copy)
    return state_dict, parameter_infos
