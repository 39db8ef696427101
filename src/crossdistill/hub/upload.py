"""Upload of a published folder to the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossdistill.errors import ConfigError, StorageError
from crossdistill.hub.download import check_name, told
from crossdistill.pipeline.published import INDEX, SIDES, read_index

_ROOT = (INDEX, "README.md", "config.json", "model.safetensors")


@dataclass(frozen=True)
class Upload:
    """What will be uploaded, to be shown before it is.

    Attributes:
        folder: a published folder.
        name: of the repository, ``NAME/MODEL``.
        files: paths inside of the folder, with their sizes in bytes. Whatever else lies there stays at home.
        gone: names of ours that this model has no file of; one that an earlier upload left there is removed.
    """

    folder: Path
    name: str
    files: dict[str, int]
    gone: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def plan_upload(folder: Path, name: str) -> Upload:
    """Checks name, folder and login beforehand.

    Raises:
        ConfigError: the name is none, or nobody is logged in.
        RunFolderError: the folder holds no published model.
    """
    check_name(name)
    read_index(folder)
    from huggingface_hub import get_token

    if get_token() is None:
        raise ConfigError(
            "You are not logged in to the Hugging Face Hub.", where="--push", expected="a token that may write",
            fix=f"hf auth login, or set HF_TOKEN; the model is in {folder} already",
        )  # fmt: skip
    inside = [f"{place}/{file}" for place in SIDES.values() for file in ("encoder.json", "model.safetensors")]
    ours = (*_ROOT, *inside)
    files = {file: (folder / file).stat().st_size for file in ours if (folder / file).is_file()}
    return Upload(folder, name, files, tuple(file for file in ours if file not in files))


def upload(plan: Upload, *, private: bool = True) -> str:
    """Uploads in one commit and returns the address of the repository; a new one is ``private`` or not.

    Raises:
        StorageError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="crossdistill")
    try:
        place = api.create_repo(plan.name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=plan.name, folder_path=plan.folder, allow_patterns=list(plan.files),
            delete_patterns=list(plan.gone), commit_message="Model written by crossdistill",
        )  # fmt: skip
    except Exception as error:  # the hub's client and its network raise many kinds
        raise StorageError(
            "The model cannot be uploaded.", where=plan.name, received=told(error),
            expected="a network, and a token that may write there",
            fix=f"hf auth whoami says who you are; the model is in {plan.folder} and can be uploaded later",
        ) from error  # fmt: skip
    return str(place)
