"""Published models by folder or by name."""

from __future__ import annotations

from pathlib import Path

from crossdistill.encoders import Encoder
from crossdistill.errors import ConfigError, EncoderError, RunFolderError
from crossdistill.pipeline import CrossModalModel, load
from crossdistill.pipeline.published import INDEX, SIDES, is_published

_WANTED = (INDEX, "README.md", *(f"{name}/{file}" for name in SIDES.values() for file in
                                 ("encoder.json", "model.safetensors")))  # fmt: skip
"""What is fetched: our encoders alone. What else a repository holds, such as the form for timm, stays there."""


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    teacher: Encoder | None = None,
    student: Encoder | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> CrossModalModel:
    """Opens a model that :func:`~crossdistill.hub.save_pretrained` wrote.

    Args:
        name_or_folder: a folder, or ``NAME/MODEL`` on the Hugging Face Hub.
        revision: branch, tag or commit on the Hub; a commit alone can never change.
        device: ``auto``, ``cpu``, ``cuda``, ...
        teacher: for a teacher that was a module of one's own, see :func:`crossdistill.load`.
        student: likewise.
        cache_dir: where downloads are kept; by default where the Hub's own client keeps them.
        token: for private repositories; by default the one that ``hf auth login`` has stored.

    Raises:
        RunFolderError: there is no such folder, or it holds something else.
        EncoderError: it cannot be fetched, or keeps its weights in another form than safetensors.
        ConfigError: ``name_or_folder`` is neither a folder nor a name.
    """
    folder = local_copy(name_or_folder, revision=revision, cache_dir=cache_dir, token=token)
    if not is_published(folder):
        raise RunFolderError(
            "This is no published model.", where=name_or_folder, expected=f"a folder with {INDEX}",
            fix="for a run folder use crossdistill.load" if (folder / "config.yaml").is_file() else
            "publish one with `crossdistill publish RUN --out FOLDER`",
        )  # fmt: skip
    return load(folder, teacher=teacher, student=student, device=device)


def local_copy(
    name_or_folder: str | Path, *, revision: str | None, cache_dir: str | Path | None, token: str | bool | None
) -> Path:
    """The folder itself, or where the files of that name have been downloaded to."""
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError("A folder has no revisions.", where=folder, received=f"revision={revision!r}")
        return folder
    text = str(name_or_folder)
    path_like = text.startswith((".", "/", "~")) or "\\" in text or text.count("/") > 1
    if isinstance(name_or_folder, Path) or path_like:
        raise RunFolderError(
            "The folder is missing.", where=name_or_folder, expected="a published model, or NAME/MODEL on the Hub"
        )
    name = check_name(text)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, revision=revision, cache_dir=cache_dir, token=token, allow_patterns=list(_WANTED),
            library_name="crossdistill",
        )  # fmt: skip
    except Exception as error:  # the hub's client, its network and its cache raise many kinds
        raise EncoderError(
            "The model cannot be fetched.", where=name if revision is None else f"{name} at {revision}",
            expected="a repository on the Hugging Face Hub that you may read, and a network, or an earlier download",
            received=told(error), fix="check the name; for a private one log in with `hf auth login`",
        ) from error  # fmt: skip
    return Path(found)


def check_name(name: str) -> str:
    """The name itself, where it can be that of a repository.

    Raises:
        ConfigError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but for its __all__

    try:
        validate_repo_id(name)
        problem = None if "/" in name else "no /"
    except HFValidationError as error:
        problem = " ".join(str(error).split())
    if problem is not None:
        raise ConfigError(
            "This is no name of a repository on the Hugging Face Hub.", where=name, expected="NAME/MODEL",
            received=problem,
        )  # fmt: skip
    return name


def told(error: BaseException) -> str:
    """An error of the Hub's client in one line."""
    text = " ".join(str(error).split())
    short = text if len(text) <= 240 else f"{text[:237]}..."
    return f"{type(error).__name__}: {short}" if short else type(error).__name__
