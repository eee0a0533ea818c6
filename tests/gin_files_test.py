"""The package's own gin files."""

from prompt_tuning import gin_files


def test_the_packages_files_are_there_but_for_those_that_t5x_reads():
    found = gin_files.packaged()
    assert "gin/runs/prompt_tune.gin" in found and "gin/models/xxl.gin" in found
    assert not [name for name in found if name.startswith("gin/t5x")]
    assert all((gin_files.GIN_ROOT / name).is_file() for name in found)
