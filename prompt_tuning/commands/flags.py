"""Flags that several commands have."""

import argparse


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Gin's files, and the folders of data; --gin.NAME=VALUE is read by cli.py."""
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="settings, named by path from the repository root; may be repeated",
    )
    parser.add_argument(
        "--gin_search_paths",
        default="",
        metavar="DIRS",
        help="more folders to find gin files in, separated by commas",
    )
    parser.add_argument(
        "--tfds_data_dir", metavar="DIR", help="where TFDS keeps its datasets"
    )
    parser.add_argument("--data_dir", metavar="DIR", help="official files, not TFDS")


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Who the processes of a run are."""
    parser.set_defaults(hosts=True)
    text = "of a run on several hosts, where neither Slurm nor a TPU pod tells"
    parser.add_argument("--coordinator_address", metavar="HOST:PORT", help=text)
    parser.add_argument("--num_processes", type=int, metavar="N")
    parser.add_argument("--process_id", type=int, metavar="I", help="from 0 to N - 1")


def add_prompt(parser: argparse.ArgumentParser) -> None:
    """Which prompt to use."""
    parser.add_argument(
        "--prompt",
        metavar="PATH",
        help="a prompt file, a run, or a step of it (default: that of MODEL_DIR)",
    )
