"""The settings: where they come from, which one wins, and what is said about wrong ones."""

import re
from pathlib import Path

import pytest

from everloom.config import TYPES, Settings, SettingsError, load
from everloom.objects.model_entries import ModelEntry
from everloom.objects.prices import Price
from everloom.objects.rules import Ceiling

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a user data folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def wrong(environ: dict[str, str] | None = None, toml: str | None = None, **flags: object) -> str:
    """The error of these settings, which is one line."""
    if toml is not None:
        Path("everloom.toml").write_text(toml)
    with pytest.raises(SettingsError) as caught:
        load(flags, environ=environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_lie_in_the_data_folder(tmp_path: Path) -> None:
    settings = load({"data": tmp_path / "with space"}, environ={})
    assert settings.sqlite_file == tmp_path / "with space" / "everloom.db"
    assert settings.blob_folder == tmp_path / "with space" / "blobs"
    assert settings.weights == tmp_path / "with space" / "weights"
    assert (settings.host, settings.port, settings.worker, settings.run_expires) == ("127.0.0.1", 8080, True, 600)


def test_reading_settings_makes_no_folder(tmp_path: Path) -> None:
    assert load(environ={}).data.name == "everloom"
    assert list(tmp_path.iterdir()) == []


def test_flag_over_environment_over_file_over_default() -> None:
    Path("everloom.toml").write_text('port = 1\nhost = "file"\nlog_level = "error"\nrun_expires = 5\n')
    environ = {"EVERLOOM_PORT": "2", "EVERLOOM_HOST": "environment"}
    settings = load({"port": 3, "host": None}, environ=environ)
    assert (settings.port, settings.host, settings.log_level) == (3, "environment", "error")
    assert settings.upstream_timeout == 300


def test_named_file_and_its_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text('data = "state"\n[[models]]\nid="m"\nbackend="local"\npath="m.gguf"\n')
    settings = load(file=Path("etc/mine.toml"), environ={})
    assert settings.data == tmp_path / "etc" / "state"
    assert settings.models[0].path == tmp_path / "etc" / "m.gguf"


def test_aliases_as_text_and_as_table() -> None:
    assert load(environ={"EVERLOOM_ALIASES": "gpt-4*=a, *=b"}).aliases == (("gpt-4*", "a"), ("*", "b"))
    Path("everloom.toml").write_text('[aliases]\n"gpt-4*" = "a"\n"*" = "b"\n')
    assert load(environ={}).aliases == (("gpt-4*", "a"), ("*", "b"))


def test_models_take_their_keys_from_the_environment() -> None:
    Path("everloom.toml").write_text(
        '[[models]]\nid="x*"\nbackend="upstream"\nbase_url="http://127.0.0.1:1/v1/"\napi_key_env="K"\nmodel="y"\n'
    )
    (entry,) = load(environ={"K": "sk-secret"}).models
    assert entry == ModelEntry(
        id="x*", backend="upstream", base_url="http://127.0.0.1:1/v1", api_key_env="K", model="y", api_key="sk-secret"
    )
    assert "sk-secret" not in repr(entry)


def test_a_settings_text_form_shows_no_key() -> None:
    settings = load(environ={"EVERLOOM_API_KEY": "sk-secret", "EVERLOOM_DATABASE": "postgresql://u:hush@h/d"})
    assert settings.api_key == "sk-secret"
    assert not re.search("secret|hush", repr(settings))


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "yes", "on"])
def test_true_in_the_environment(text: str) -> None:
    assert load(environ={"EVERLOOM_PRELOAD": text}).preload is True


@pytest.mark.parametrize("text", ["0", "false", "no", "Off"])
def test_false_in_the_environment(text: str) -> None:
    assert load(environ={"EVERLOOM_WORKER": text}).worker is False


def test_empty_variables_are_not_set() -> None:
    assert load(environ={"EVERLOOM_UPSTREAM": "", "EVERLOOM_PORT": " "}) == load(environ={})


def test_variables_of_kubernetes_are_passed_over() -> None:
    environ = {
        "EVERLOOM_PORT": "tcp://10.0.0.1:8080",
        "EVERLOOM_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "EVERLOOM_SERVICE_HOST": "10.0.0.1",
        "EVERLOOM_SERVICE_PORT_HTTP": "8080",
    }
    assert load(environ=environ) == load(environ={})


def test_database_urls_are_read_as_sqlalchemy_reads_them(tmp_path: Path) -> None:
    assert load(environ={"EVERLOOM_DATABASE": "sqlite:///here.db"}).sqlite_file == tmp_path / "here.db"
    assert load(environ={"EVERLOOM_DATABASE": "sqlite:////var/there.db"}).sqlite_file == Path("/var/there.db")
    assert load(environ={"EVERLOOM_DATABASE": "postgresql://h/d"}).sqlite_file is None
    assert load(environ={"EVERLOOM_BLOBS": "s3://bucket/prefix"}).blob_folder is None


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"EVERLOOM_PROT": "1"}, "EVERLOOM_PROT: no such setting; did you mean EVERLOOM_PORT?"),
        ({"EVERLOOM_XYZZY": "1"}, "EVERLOOM_XYZZY: no such setting; docs/settings.md lists them all"),
        ({"EVERLOOM_PORT": "many"}, "EVERLOOM_PORT: expected `int`, got `str`"),
        ({"EVERLOOM_PORT": "70000"}, "EVERLOOM_PORT: must lie between 0 and 65535, not 70000"),
        ({"EVERLOOM_UPSTREAM_TIMEOUT": "nan"}, "EVERLOOM_UPSTREAM_TIMEOUT: must lie between 1 and 86400, not nan"),
        ({"EVERLOOM_WORKER": "perhaps"}, "EVERLOOM_WORKER: expected `bool`, got `str`"),
        ({"EVERLOOM_LOG_LEVEL": "loud"}, "EVERLOOM_LOG_LEVEL: invalid enum value 'loud'"),
        ({"EVERLOOM_UPSTREAM": "127.0.0.1:1"}, "EVERLOOM_UPSTREAM: '127.0.0.1:1' is not an http:// or https:// URL"),
        (
            {"EVERLOOM_UPSTREAM": "http://a:99999"},
            "EVERLOOM_UPSTREAM: 'http://a:99999' is no URL: Port out of range 0-65535",
        ),
        ({"EVERLOOM_BLOBS": "/tmp"}, "EVERLOOM_BLOBS: expected file:///FOLDER or s3://BUCKET/PREFIX"),
        ({"EVERLOOM_ALIASES": "gpt-4"}, "EVERLOOM_ALIASES: 'gpt-4' is not of the form pattern=model"),
        ({"EVERLOOM_MODELS": "x"}, "EVERLOOM_MODELS: models are named in everloom.toml, as [[models]] tables"),
    ],
)
def test_wrong_variables(environ: dict[str, str], says: str) -> None:
    assert wrong(environ) == says


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("prot = 1", "everloom.toml: prot: no such setting; did you mean port?"),
        ("port = []", "everloom.toml: port: expected `int`, got `array`"),
        ("data = 1", "everloom.toml: data: expected `str`, got `int`"),
        ("aliases = 1", "everloom.toml: aliases: expected pattern=model,… or a table"),
        ("models = 1", "everloom.toml: models: expected [[models]] tables"),
        (
            '[[models]]\nid="a"\nbackend="local"',
            'everloom.toml: models[1] (a): backend = "local" needs path, a GGUF file',
        ),
        (
            '[[models]]\nid="a"\nbackend="upstream"\nbase_url="http://h"\napi_key_env="NOPE"',
            "everloom.toml: models[1] (a): the environment has no NOPE, which api_key_env names",
        ),
    ],
)
def test_wrong_file(toml: str, says: str) -> None:
    assert wrong(toml=toml) == says


def test_broken_and_missing_files() -> None:
    assert wrong(toml="port = ").startswith("everloom.toml: not a TOML file: ")
    with pytest.raises(SettingsError, match=r"^nowhere.toml: cannot be read: No such file"):
        load(file=Path("nowhere.toml"), environ={})


def test_unknown_key_of_a_model_is_named() -> None:
    said = wrong(toml='[[models]]\nid="a"\nbackend="local"\npth="x"')
    assert said.startswith("everloom.toml: models[1]: ")
    assert "pth" in said


def test_wrong_flag_is_named() -> None:
    assert wrong(port=-1) == "--port: must lie between 0 and 65535, not -1"


def test_wrong_database_does_not_show_its_password() -> None:
    said = wrong({"EVERLOOM_DATABASE": "mysql://u:hush@h/d"})
    assert said.startswith("EVERLOOM_DATABASE: expected sqlite:///PATH")
    assert "hush" not in said


def test_a_sink_takes_one_password() -> None:
    given = {"audit_sink": "https://a:b@host/", "audit_sink_token": "token"}
    with pytest.raises(SettingsError, match="a sink takes one of them"):
        load(given, environ={})
    assert load(given | {"audit_sink": "https://host/@b"}, environ={}).audit_sink == "https://host/@b"


def test_one_key_cannot_be_both() -> None:
    assert "are the same" in wrong({"EVERLOOM_API_KEY": "sk-a", "EVERLOOM_ADMIN_KEY": "sk-a"})


def test_every_setting_is_documented_and_nothing_else() -> None:
    rows = [line.split("|") for line in DOCUMENT.read_text().splitlines() if re.match(r"\| (`EVERLOOM_|none)", line)]
    assert [row[2].strip(" `") for row in rows] == list(TYPES)
    for row in rows:
        name = row[2].strip(" `")
        assert row[1].strip(" `") == ("none" if name in ("models", "prices", "limits") else f"EVERLOOM_{name.upper()}")


def test_documented_defaults_are_the_defaults() -> None:
    settings = Settings()
    for row in re.findall(r"^\| `EVERLOOM_.*$", DOCUMENT.read_text(), re.MULTILINE):
        cells = row.split("|")
        default = re.fullmatch(r"`([\w.]+)`( \(.*\))?", cells[4].strip())
        if default:
            value = getattr(settings, cells[2].strip(" `"))
            assert default[1] == (
                str(value).lower()
                if isinstance(value, bool)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )


def test_every_key_of_a_model_a_price_and_a_limit_is_documented() -> None:
    documented = set(re.findall(r"^\| `([a-z0-9_]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    models = set(ModelEntry.__struct_fields__) - {"api_key"}
    assert documented == models | set(Price.__struct_fields__) | set(Ceiling.__struct_fields__)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('backend = "local"\nguard = true', "needs path"),
        ('backend = "local"\nguard = true\npath = "m.gguf"\nmodel = "other"', "path, or model"),
        ('backend = "upstream"\nbase_url = "http://a/v1"\nguard_prompt = "p.txt"', "belongs to guard = true"),
        ('backend = "upstream"\nbase_url = "http://a/v1"\nguard = true\nguard_prompt = "p.txt"', "is no file"),
    ],
)
def test_guards_that_cannot_be(lines: str, problem: str) -> None:
    assert problem in wrong(toml=f'[[models]]\nid = "guard"\n{lines}\n')


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('backend = "local"\npath = "m.gguf"\ntemperature = 2.5', "expected `float` <= 2.0"),
        ('backend = "local"\npath = "m.gguf"\ntemperature = "warm"', "expected `float"),
        ('backend = "local"\npath = "m.gguf"\ntop_p = 0', "expected `float` > 0.0"),
        ('backend = "local"\npath = "m.gguf"\ncontext_window = 0', "expected `int` >= 1"),
        ('backend = "local"\npath = "m.gguf"\ntop_k = -1', "expected `int` >= 0"),
        ('backend = "local"\npath = "m.gguf"\nmin_p = 1.5', "expected `float` <= 1.0"),
        ('backend = "local"\npath = "m.gguf"\nrepeat_penalty = 0', "expected `float` > 0.0"),
        (
            'backend = "upstream"\nbase_url = "http://a/v1"\ntemperature = 0.2',
            'temperature belongs to backend = "local"',
        ),
        (
            'backend = "local"\nguard = true\nmodel = "other"\ntop_k = 1',
            "top_k belongs to the entry of the model itself",
        ),
        ('backend = "local"\nguard = true\ntop_k = 1', "needs path"),
    ],
)
def test_sampling_that_cannot_be(lines: str, problem: str) -> None:
    assert problem in wrong(toml=f'[[models]]\nid = "m"\n{lines}\n')


def test_how_the_default_model_samples_can_be_said_without_a_path() -> None:
    Path("everloom.toml").write_text('[[models]]\nid = "smollm2-135m"\nbackend = "local"\ntemperature = 0\ntop_k = 1\n')
    (entry,) = load(environ={}).models
    assert (entry.temperature, entry.top_k, entry.top_p) == (0, 1, None)


def test_a_guard_may_be_another_local_model() -> None:
    Path("everloom.toml").write_text('[[models]]\nid = "guard"\nbackend = "local"\nmodel = "qwen"\nguard = true\n')
    assert load(environ={}).models[0].guard


def test_prices_are_tables_of_the_file() -> None:
    Path("everloom.toml").write_text('[[prices]]\nmodel = "gpt-4o*"\ninput = 2\n[[prices]]\nmodel = "*"\nimage = 0.5\n')
    assert load(environ={}).prices == (Price(model="gpt-4o*", input=2.0), Price(model="*", image=0.5))


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[[prices]]\ninput = 1", "missing required field `model`"),
        ('[[prices]]\nmodel = "a"\ninput = -1', "expected `float` >= 0.0"),
        ('[[prices]]\nmodel = "a"\ncolour = 1', "contains unknown field `colour`"),
        ('[[prices]]\nmodel = "a"\nbatch = 2', "expected `float` <= 1.0"),
        ("prices = 5", "expected `array`"),
    ],
)
def test_prices_that_cannot_be_used(toml: str, problem: str) -> None:
    assert problem in wrong(toml=toml)


def test_prices_do_not_stand_in_the_environment() -> None:
    assert wrong({"EVERLOOM_PRICES": "5"}) == "EVERLOOM_PRICES: prices are named in everloom.toml, as [[prices]] tables"


def test_limits_are_tables_of_the_file() -> None:
    Path("everloom.toml").write_text(
        '[[limits]]\nmodel = "gpt-4o*"\nmax_requests_per_1_minute = 500\n'
        '[[limits]]\nmodel = "*"\nbatch_1_day_max_input_tokens = 0\n'
    )
    assert load(environ={}).limits == (
        Ceiling(model="gpt-4o*", max_requests_per_1_minute=500),
        Ceiling(model="*", batch_1_day_max_input_tokens=0),
    )
    assert load(environ={"EVERLOOM_PORT": "1"}).limits[0].max_tokens_per_1_minute is None


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[[limits]]\nmax_requests_per_1_minute = 1", "missing required field `model`"),
        ('[[limits]]\nmodel = "a"\nmax_requests_per_1_minute = -1', "expected `int` >= 0"),
        ('[[limits]]\nmodel = "a"\nmax_requests_per_1_minute = 1.5', "expected `int | null`"),
        ('[[limits]]\nmodel = "a"\nmax_requests_per_1_minute = 10000000000000', "expected `int` <= "),
        ('[[limits]]\nmodel = "a"\nmax_requests_per_1_hour = 1', "contains unknown field"),
        ("limits = 5", "expected `array`"),
    ],
)
def test_limits_that_cannot_be_used(toml: str, problem: str) -> None:
    assert problem in wrong(toml=toml)


def test_limits_do_not_stand_in_the_environment() -> None:
    assert wrong({"EVERLOOM_LIMITS": "5"}) == "EVERLOOM_LIMITS: limits are named in everloom.toml, as [[limits]] tables"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"EVERLOOM_SMTP_URL": "smtp://a"}, "smtp_url and mail_from belong together"),
        ({"EVERLOOM_MAIL_FROM": "a@example.org"}, "smtp_url and mail_from belong together"),
        ({"EVERLOOM_SMTP_URL": "mail.example"}, "EVERLOOM_SMTP_URL: expected smtp://"),
        ({"EVERLOOM_SMTP_URL": "smtp://a?starttls=so"}, "EVERLOOM_SMTP_URL: expected ?starttls=always"),
        ({"EVERLOOM_MAIL_FROM": "a, b"}, "EVERLOOM_MAIL_FROM: expected an address"),
    ],
)
def test_mail_that_cannot_be_sent(settings: dict[str, str], problem: str) -> None:
    assert problem in wrong(settings)
