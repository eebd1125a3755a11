"""The settings: one frozen ``Settings``, read once from flags, environment and ``everloom.toml``.

The only reader of the environment. A flag wins over the environment, the environment over the file,
the file over the default. Everything wrong is a ``SettingsError`` of one line that names the setting
and where it came from. Each setting is described in ``docs/settings.md``; a test holds that.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct, field

from everloom.config_checks import CHECKS
from everloom.kit.secrets import SECRETS
from everloom.objects.model_entries import ModelEntry, entry_problem
from everloom.objects.prices import Price
from everloom.objects.rules import Ceiling

PREFIX = "EVERLOOM_"
DEFAULT_FILE = "everloom.toml"
ADDED_FILE = "models.toml"
"""In the data folder: the models that ``everloom models add`` has registered."""

AUDIT_KEY_FILE = "audit-key.pem"
WITNESS_FILE = "audit-witness.jsonl"
"""In the data folder, unless settings say otherwise."""

T = TypeVar("T")


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line, fit to be shown as it is."""


def _user_data() -> Path:
    from platformdirs import user_data_path

    return user_data_path("everloom", appauthor=False)


class Settings(Struct, frozen=True, kw_only=True):
    """What an operator decides. Times in seconds, sizes in bytes; texts left empty are not set."""

    data: Path = field(default_factory=_user_data)
    database: str = ""
    blobs: str = ""
    weights: Path = Path()
    fetch_weights: bool = True
    api_key: str = ""
    admin_key: str = ""
    upstream: str = ""
    upstream_key: str = ""
    upstream_timeout: float = 300.0
    aliases: tuple[tuple[str, str], ...] = ()
    stand_ins: bool = True
    models: tuple[ModelEntry, ...] = ()
    limits: tuple[Ceiling, ...] = ()
    prices: tuple[Price, ...] = ()
    default_prices: bool = True
    embedding_model: str = "all-minilm-l6-v2"
    moderation_model: str = "minilm-moderation"
    search_first: Literal["auto", "always", "never"] = "auto"
    sandbox_python: Path = Path()
    sandbox_idle: float = 3600.0
    sandbox_gateway: str = ""
    sandbox_gateway_token: str = ""
    images_python: Path = Path()
    finetune_python: Path = Path()
    finetune_memory: int = 0
    finetune_context: int = 2048
    preload: bool = False
    batch_concurrency: int = 32
    local_slots: int = 4
    local_context: int = 2048
    local_threads: int = 0
    local_memory: int = 0
    local_idle: float = 0.0
    hub: str = "https://huggingface.co"
    hub_key: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    processes: int = 1
    public_url: str = ""
    former_ids: str = ""
    smtp_url: str = ""
    mail_from: str = ""
    webhooks_allow_private: bool = False
    worker: bool = True
    run_expires: int = 600
    compact_events_after: int = 3600
    max_body_bytes: int = 64 * 1024 * 1024
    max_file_bytes: int = 512 * 1024 * 1024
    metrics: Literal["local", "admin", "open"] = "local"
    console: bool = True
    max_connections_per_address: int = 4096
    head_timeout: float = 15.0
    idle_timeout: float = 30.0
    least_rate: int = 256
    audit_key: Path = Path()
    audit_witness: Path = Path()
    audit_sink: str = ""
    audit_sink_token: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["plain", "json"] = "plain"

    def __post_init__(self) -> None:
        data = self.data.expanduser().absolute()
        derived = {
            "data": data,
            "database": self.database or f"sqlite:///{data / 'everloom.db'}",
            "blobs": self.blobs or (data / "blobs").as_uri(),
            "audit_witness": data / WITNESS_FILE if self.audit_witness == Path() else self.audit_witness,
            "weights": data / "weights" if self.weights == Path() else self.weights.expanduser().absolute(),
        }
        for name, value in derived.items():
            msgspec.structs.force_setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Settings(data={str(self.data)!r}, port={self.port})"

    @property
    def sqlite_file(self) -> Path | None:
        """The database's file, or None on PostgreSQL. As in SQLAlchemy's URLs: four slashes before an absolute path."""
        if not self.database.startswith("sqlite:"):
            return None
        return Path(self.database.removeprefix("sqlite:///")).expanduser().absolute()

    @property
    def database_place(self) -> str:
        """The database as it is named to people: its file, or its server's address, without user and password."""
        if self.sqlite_file is not None:
            return str(self.sqlite_file)
        parts = urlsplit(self.database)
        return f"{parts.hostname or 'its socket'}:{parts.port or 5432}{parts.path}"

    @property
    def blob_folder(self) -> Path | None:
        """The folder of the files' bytes, or None on S3."""
        if not self.blobs.startswith("file:"):
            return None
        return Path(unquote(urlsplit(self.blobs).path))


TYPES: dict[str, Any] = get_type_hints(Settings)
"""Each setting's name and type."""


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of this process.

    ``flags`` are those given on the command line (None means not given). ``file`` must exist when
    it is named; ``everloom.toml`` in the working directory is read when it is there.
    """
    environ = os.environ if environ is None else environ
    values = _of_file(file, environ)
    values.update(_of_environment(environ))
    for name, value in (flags or {}).items():
        if value is not None:
            flag = f"--no-{name}" if value is False else f"--{name}"
            values[name] = _checked(name, value, flag)
    values["models"] = values.get("models", ()) + _added(values, environ)
    if values.get("api_key") and values.get("api_key") == values.get("admin_key"):
        raise SettingsError("api_key and admin_key are the same; a key opens either the API or the organization")
    if bool(values.get("smtp_url")) != bool(values.get("mail_from")):
        raise SettingsError("smtp_url and mail_from belong together: the mail server, and whom its mail is from")
    if values.get("audit_sink_token") and "@" in urlsplit(values.get("audit_sink", "")).netloc:
        raise SettingsError("audit_sink has a user in it, and there is an audit_sink_token; a sink takes one of them")
    settings = Settings(**values)
    SECRETS.add(_secrets(settings, environ))
    return settings


_SECRET_VARIABLES = ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
"""Secrets that the database's driver and the object store read from the environment themselves."""


def _secrets(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Everything in the settings that nobody else is to read."""
    yield from (settings.api_key, settings.admin_key, settings.upstream_key, settings.hub_key)
    yield from (settings.sandbox_gateway_token, settings.audit_sink_token)
    yield from (entry.api_key for entry in settings.models)
    yield from (environ.get(name, "") for name in _SECRET_VARIABLES)
    bases = [entry.base_url or "" for entry in settings.models]
    others = (settings.upstream, settings.hub, settings.sandbox_gateway, settings.audit_sink, settings.smtp_url)
    for url in (settings.database, settings.blobs, *others, *bases):
        try:
            parts = urlsplit(url)
        except ValueError:
            continue
        yield unquote(parts.password or "")
        yield from (
            value for name, value in parse_qsl(parts.query) if re.search("pass|secret|tok|key|sig|auth", name, re.I)
        )


def official_variables() -> tuple[str, str]:
    """Base URL and key that a program with an official SDK finds in this environment; empty where they are not set."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    SECRETS.add([key])
    return os.environ.get("OPENAI_BASE_URL", "").strip().rstrip("/"), key


def named_variable(name: str) -> str:
    """The secret that a command's option names by its environment variable; empty where that is not set."""
    secret = os.environ.get(name, "").strip()
    SECRETS.add([secret])
    return secret


def bare_environment() -> dict[str, str]:
    """This process's environment without settings, for a server of its own that is given others."""
    return {variable: text for variable, text in os.environ.items() if not variable.startswith(PREFIX)}


def _of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or not text.strip() or _is_kubernetes(variable, text):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name.startswith("test_"):  # Kept free for whoever tests programs against a server.
            continue
        if name in ("models", "prices", "limits"):
            raise SettingsError(f"{variable}: {name} are named in {DEFAULT_FILE}, as [[{name}]] tables")
        if name not in TYPES:
            raise SettingsError(f"{variable}: no such setting{_hint(name, lambda known: PREFIX + known.upper())}")
        values[name] = _checked(name, text.strip(), variable)
    return values


def _is_kubernetes(variable: str, text: str) -> bool:
    """Whether Kubernetes put the variable there because some service is called ``everloom``."""
    if variable == PREFIX + "PORT":
        return text.startswith("tcp://")
    return bool(re.match(r"EVERLOOM_(SERVICE_HOST|SERVICE_PORT|PORT_\d+_)", variable))


def _of_file(file: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    path = Path(DEFAULT_FILE) if file is None else file
    if file is None and not path.is_file():
        return {}
    values = {}
    for name, value in _table(path).items():
        if name not in TYPES:
            raise SettingsError(f"{path}: {name}: no such setting{_hint(name, str)}")
        where = f"{path}: {name}"
        if name == "models":
            values[name] = _models(value, where, path.parent, environ)
        else:
            values[name] = _checked(name, value, where, path.parent)
    return values


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from error


def _added(values: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[ModelEntry, ...]:
    """The registered models; the settings file wins where both name an id."""
    path = Settings(**values).data / ADDED_FILE
    try:
        if not path.is_file():
            return ()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be looked for: {error.strerror}") from error
    named = {entry.id for entry in values.get("models", ())}
    entries = _models(_table(path).get("models", []), f"{path}: models", path.parent, environ)
    return tuple(entry for entry in entries if entry.id not in named)


def _hint(name: str, show: Callable[[str], str]) -> str:
    near = difflib.get_close_matches(name, TYPES, n=1)
    return f"; did you mean {show(near[0])}?" if near else "; docs/settings.md lists them all"


def _checked(name: str, value: Any, where: str, folder: Path = Path()) -> Any:
    """The value as its setting's type, or a ``SettingsError`` that says ``where`` it stood."""
    if name == "aliases":
        return _aliases(value, where)
    if TYPES[name] is bool and isinstance(value, str):
        value = {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value)
    if TYPES[name] is Path:
        return _convert(value, Path, where, folder)
    converted = _convert(value, TYPES[name], where)
    problem = CHECKS[name](converted) if name in CHECKS else None
    if problem:
        raise SettingsError(f"{where}: {problem}")
    return converted.rstrip("/") if name in ("upstream", "blobs", "public_url", "hub") else converted


def _convert(value: Any, type: type[T], where: str, folder: Path = Path()) -> T:
    def into_path(wanted: Any, given: Any) -> Any:
        if wanted is not Path or not isinstance(given, str | Path):
            raise ValueError(f"Expected `str`, got `{given.__class__.__name__}`")
        return (folder / Path(given).expanduser()).absolute()

    try:
        # The environment has nothing but strings, so a string may stand for a number or a boolean.
        return msgspec.convert(value, type, strict=not isinstance(value, str), dec_hook=into_path)
    except msgspec.ValidationError as error:
        problem = str(error)
        raise SettingsError(f"{where}: {problem[:1].lower()}{problem[1:]}") from error


def _aliases(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    """``pattern=model,…`` or a TOML table, in the order given: the first pattern that fits wins."""
    if isinstance(value, str):
        pairs = [tuple(part.strip() for part in item.partition("=")[::2]) for item in value.split(",") if item.strip()]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise SettingsError(f"{where}: expected pattern=model,… or a table")
    for pattern, model in pairs:
        if not pattern or not isinstance(model, str) or not model:
            raise SettingsError(f"{where}: {pattern or model!r} is not of the form pattern=model")
    return tuple((pattern, model) for pattern, model in pairs)


def _models(value: Any, where: str, folder: Path, environ: Mapping[str, str]) -> tuple[ModelEntry, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{where}: expected [[models]] tables")
    entries = []
    for number, table in enumerate(value, 1):
        entry = _convert(table, ModelEntry, f"{where}[{number}]", folder)
        problem = entry_problem(entry, environ)
        if problem:
            raise SettingsError(f"{where}[{number}] ({entry.id}): {problem}")
        key = environ.get(entry.api_key_env, "") if entry.api_key_env else ""
        base_url = entry.base_url.rstrip("/") if entry.base_url else None
        entries.append(msgspec.structs.replace(entry, api_key=key, base_url=base_url))
    return tuple(entries)
