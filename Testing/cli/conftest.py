import pytest

from GLIDERegLib.cli import main


@pytest.fixture(scope="session")
def registered(images, phantom_folder, tmp_path_factory):
    """The results of registering the small phantom, with its nodules as points of both images."""
    folder = tmp_path_factory.mktemp("registered") / "new" / "folder"
    points = [f"--{role}-points={phantom_folder / f'{role}_nodules.csv'}" for role in ("fixed", "moving")]
    given = ["-o", str(folder), *points, "--uncertainty", "--quiet"]
    assert main(["register", *map(str, images), *given]) == 0
    return folder
