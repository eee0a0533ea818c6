"""`serve`: answer over HTTP with many prompts and one frozen model."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from prompt_tuning import files
from prompt_tuning.commands import flags
from prompt_tuning.errors import UserError

SETTINGS = (
    "INITIAL_CHECKPOINT_PATH",
    "BATCH_SIZE",
    "PROMPT_PLACE",
    "T5Config.param_dtype",
)
EXAMPLES = r"""
# one prompt, here; a page is at the address that it prints
prompt-tuning serve --prompts cb=runs/mine

# all prompts of a folder, to whoever has the key
prompt-tuning serve --prompts runs --host=0.0.0.0 --api_key_file=key.txt

# clients load and unload prompts below a folder
prompt-tuning serve --load_from=runs --port=8080
"""


KEY = "PROMPT_TUNING_API_KEY"  # the environment variable
# Compiled beside the largest: rows of a batch; prompt and input together.
SIZES, LENGTHS = (1, 8), (64, 128, 256)
# Of a batch, in positions: nearly all of a CPU's time is theirs, while an accelerator
# does thousands at once.
OVERHEAD = {"cpu": 128.0, "others": 2.0**14}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the prompts, where to listen, who may ask, and the limits."""
    flags.add_prompts(parser)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument(
        "--api_key", help=f"shows in `ps`; better a file, or the variable {KEY}"
    )
    parser.add_argument("--api_key_file", type=flags.path, metavar="FILE")
    parser.add_argument(
        "--load_from",
        type=flags.path,
        metavar="DIR",
        help="let clients load and unload prompts that lie below this folder",
    )
    for name, kind, default, text in _LIMITS:
        text = f"{text} (default: %(default)s)"
        parser.add_argument(name, type=kind, default=default, metavar="N", help=text)


_LIMITS = (
    ("--longest_wait", float, 0.005, "seconds that a text waits for others to share a "
     "batch with, while the model is idle"),
    ("--most_waiting", int, 1_024, "texts in the queue; more are refused with 429"),
    ("--most_bytes", int, 2**20, "of a request's body"),
    ("--most_characters", int, 20_000, "of a text"),
    ("--most_texts", int, 128, "texts of a request, times its answers to each"),
    ("--most_tokens", int, 128, "of an answer"),
    ("--client_seconds", float, 10.0, "in which a client must send its request, or "
     "take its answer"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Serves until SIGTERM or Ctrl-C; what was accepted by then is answered."""
    _check(args)
    try:
        from prompt_tuning.serving import listening
    except ImportError as error:
        raise UserError(
            f"the server needs {error.name}, which is not installed: "
            "pip install '.[serve]' in a checkout"
        ) from None
    key, folder = api_key(args), _folder(args.load_from)
    with listening.bound(args.host, args.port) as sock:  # a taken port shows at once
        app, count = _app(args, key, folder)

        def ready() -> None:
            what = f"{count} prompt{'s' * (count != 1)}"
            print(f"serving {what} at {listening.url(sock)}", flush=True)

        listening.serve(app, sock, args.client_seconds, ready)
    print("stopped; all that was accepted is answered", flush=True)


def _app(
    args: argparse.Namespace, key: str | None, folder: Path | None
) -> tuple[Any, int]:
    """The app with everything compiled, and the number of its prompts."""
    from prompt_tuning.commands import common
    from prompt_tuning.runs import parts
    from prompt_tuning.serving import server
    from prompt_tuning.serving.model import Model
    from prompt_tuning.serving.prompt_files import signature

    if common.given(args, "decoding", "greedy", "labels") == "labels":
        raise UserError(
            "DECODING is 'labels', but /v1/completions decodes: leave it out, and ask "
            "/v1/classify for labels"
        )
    paths, settings = common.settings_of_prompts(args)
    common.start(args)
    model = Model(settings, parts.build(settings))
    options = _options(args, settings, model, key, folder)
    app = server.make_app(model, options)
    for name, path in paths.items():
        before = signature(Path(path))
        model.add(name, path, **options.said)
        app.watched.add(name, Path(path), before)
    _compile(model, options)
    return app.asgi, len(paths)


def _compile(model: Any, options: Any) -> None:
    """Compiles each size of a batch, for each length of inputs and of answers.

    Few of them, as each takes about a second; the next start finds them in the cache.
    """
    if not model.names:  # what these will be like is not known
        return
    facts = {name: model.prompt(name) for name in model.names}
    longest = max(model.limit(name) + one.length for name, one in facts.items())
    lengths = [*(n for n in LENGTHS if n < longest), longest]
    usual = max(one.target_length for one in facts.values())
    print("compiling; the next start finds it done", file=sys.stderr, flush=True)
    most = sorted({min(usual, options.most_tokens), options.most_tokens})
    for size in options.batch_sizes:
        model.compile(lengths, size, most=most, labels=True)


def _options(
    args: argparse.Namespace, settings: Any, model: Any, key: Any, folder: Any
) -> Any:
    from prompt_tuning.commands import common
    from prompt_tuning.serving.server import Options

    largest, devices = settings.run.batch_size, model.mesh.shape["data"]
    sizes = {size for size in SIZES if size < largest and size % devices == 0}
    on_cpu = model.mesh.devices.flat[0].platform == "cpu"
    said = {
        "place": common.given(args, "prompt_place", "prefix", "suffix"),
    }
    same = [name.removeprefix("--") for name, *_ in _LIMITS]
    return Options(
        batch_sizes=tuple(sorted(sizes | {largest})),
        overhead=OVERHEAD["cpu" if on_cpu else "others"],
        api_key=key,
        folder=folder,
        said=said,
        **{name: getattr(args, name) for name in same},
    )


def _check(args: argparse.Namespace) -> None:
    if not args.prompts and not args.load_from:
        raise UserError(
            "there is nothing to serve: give --prompts NAME=PATH ..., or --load_from"
        )
    if not 0 <= args.port < 2**16:
        raise UserError(f"--port is {args.port}; it must be from 0 to 65535")
    for name, kind, *_ in _LIMITS:
        value = getattr(args, name.removeprefix("--"))
        least = 0 if name == "--longest_wait" else kind(1)
        if not least <= value < 2**31:  # nor is it NaN
            raise UserError(f"{name} is {value}; it must be {least} or more")
    if args.most_texts > args.most_waiting:
        raise UserError(
            f"--most_texts is {args.most_texts}, but the queue takes "
            f"--most_waiting={args.most_waiting}: so many would always be refused"
        )


def api_key(args: argparse.Namespace) -> str | None:
    """The key of --api_key_file, --api_key or the environment; None: none is asked.

    Raises:
      UserError: two are given, or one that no header can hold.
    """
    if None not in (args.api_key, args.api_key_file):
        raise UserError("--api_key and --api_key_file are both given; give one")
    key = os.environ.get(KEY) if args.api_key is None else args.api_key
    if args.api_key_file is not None:
        key = _read(args.api_key_file)
    if key is None and args.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            f"warning: whoever reaches {args.host} is answered; give --api_key_file",
            file=sys.stderr,
        )
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise UserError(
            "the API key is empty, or has spaces or characters beyond ASCII, which no "
            "header can hold; give another"
        )
    return key


def _read(path: str) -> str:
    try:
        return files.text_of(files.regular(Path(path), 2**12).read_bytes()).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"the API key in {path!r} cannot be read ({reason}); give a file that "
            "holds the key alone"
        ) from None


def _folder(given: str | None) -> Path | None:
    if given is None:
        return None
    if not given or not Path(given).is_dir():
        raise UserError(f"--load_from is {given!r}; it must be a folder that is there")
    return Path(given).resolve()
