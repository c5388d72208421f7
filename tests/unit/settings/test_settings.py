"""Settings are read once, all problems are told at once, and no secret is repeated."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.errors import StartupError
from gateway.settings import DECLARED, Address, Settings, SettingsError, available_cores, read_settings


def problems_of(environ: dict[str, str], flags: dict[str, str | None] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        read_settings(environ, flags)
    return raised.value.problems


def test_an_empty_environment_is_a_working_set() -> None:
    settings = read_settings({"PATH": "/bin", "HOME": "/home/somebody"})
    assert settings == Settings(log_format=settings.log_format)
    assert settings.database_url is None
    assert settings.data_dir == Path(".tollway")
    assert str(settings.listen) == "127.0.0.1:8080"
    assert settings.workers == available_cores()
    assert settings.portal_base_url == "http://127.0.0.1:8091"


def test_variables_set_and_flags_win() -> None:
    environ = {"TOLLWAY_LISTEN": "0.0.0.0:80", "TOLLWAY_WORKERS": "3", "TOLLWAY_LOG_FORMAT": "JSON"}
    settings = read_settings(environ, {"workers": "5", "policies": None, "listen": "[::1]:8080"})
    assert settings.workers == 5
    assert settings.listen == Address("::1", 8080)
    assert settings.log_format == "json"


@pytest.mark.parametrize("text", ["10.0.0.0/8,2001:db8::/32", " 10.0.0.0/8 , 2001:DB8::/32,"])
def test_trusted_proxies(text: str) -> None:
    settings = read_settings({"TOLLWAY_TRUSTED_PROXIES": text, "TOLLWAY_PROXY_PROTOCOL": "Trusted"})
    assert [str(one) for one in settings.trusted_proxies.ranges] == ["10.0.0.0/8", "2001:db8::/32"]
    assert settings.proxy_protocol == "trusted"


def test_a_bad_variable_does_not_matter_where_a_flag_wins() -> None:
    assert read_settings({"TOLLWAY_WORKERS": "many"}, {"workers": "2"}).workers == 2


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({"TOLLWAY_DATABASE_URL": "", "TOLLWAY_WORKERS": ""}).database_url is None


@pytest.mark.parametrize(
    ("case", "name", "text", "said"),
    [
        ("a word for a number", "WORKERS", "many", "must be a whole number from 1 to 256, got 'many'"),
        ("no worker at all", "WORKERS", "0", "must be a whole number from 1 to 256, got '0'"),
        ("a number that is not ASCII", "WORKERS", "\u0663", "must be a whole number from 1 to 256"),
        ("an address without a port", "LISTEN", "127.0.0.1", "must be host:port, like 127.0.0.1:8080"),
        ("a port too high", "LISTEN", "127.0.0.1:65536", "must be host:port"),
        ("a URL for an address", "LISTEN", "http://127.0.0.1:80", "must have brackets"),
        ("IPv6 without brackets", "LISTEN", "::1:8080", "must have brackets around an IPv6 address"),
        ("brackets around nonsense", "LISTEN", "[zz]:80", "must have an IPv6 address in the brackets"),
        ("another format", "LOG_FORMAT", "xml", "must be console or json, got 'xml'"),
        ("another level", "LOG_LEVEL", "loud", "must be debug, info, warning or error, got 'loud'"),
        ("a short portal secret", "PORTAL_SECRET", "short", "must be at least 32 printable ASCII characters"),
        ("a mail server that is none", "SMTP_URL", "mail.example", "must be like smtp://user:password@host"),
        (
            "a sender that is none",
            "MAIL_FROM",
            "me\r\nBcc: you",
            "must be a mail address like gateway@example.com",
        ),
        ("another way to sync", "JOURNAL_SYNC", "maybe", "must be interval, always or off, got 'maybe'"),
        ("another thing to do when full", "ON_JOURNAL_FULL", "drop", "must be refuse or pass, got 'drop'"),
        ("no time between notes", "PROGRESS_INTERVAL_S", "0", "must be a whole number from 1 to 3600"),
        ("a name for a range", "TRUSTED_PROXIES", "10.0.0.0/8,lb", "must be an IP range such as"),
        ("not its first address", "TRUSTED_PROXIES", "10.1.0.0/8", "write 10.0.0.0/8, got '10.1.0.0/8'"),
        ("another header", "TRUSTED_HEADER", "x-real-ip", "must be x-forwarded-for or forwarded, got"),
        ("another word", "PROXY_PROTOCOL", "yes", "must be off, trusted or all, got 'yes'"),
        ("nobody to trust", "PROXY_PROTOCOL", "trusted", "set TOLLWAY_TRUSTED_PROXIES to the ranges"),
        ("a flag of neither kind", "CONTROL_WIDE", "perhaps", "must be yes or no, got 'perhaps'"),
        ("a prefix with an underscore", "KEY_PREFIX", "my_co", "must be 2 to 16 of a-z and 0-9"),
        (
            "a database of another make",
            "DATABASE_URL",
            "mysql://u:hunter2@h/d",
            "postgresql:// or postgres://",
        ),
        ("a Redis URL without a scheme", "REDIS_URL", "localhost:6379", "redis:// or rediss:// or unix://"),
        ("a short token", "ADMIN_TOKEN", "hunter2", "must be at least 16 printable ASCII characters"),
    ],
)
def test_each_problem_names_the_variable_and_what_is_wrong(
    case: str, name: str, text: str, said: str
) -> None:
    (line,) = problems_of({f"TOLLWAY_{name}": text})
    assert line.startswith(f"TOLLWAY_{name} ")
    assert said in line
    assert "hunter2" not in line


def test_a_bad_flag_is_named_as_it_was_typed() -> None:
    assert problems_of({}, {"workers": "x"})[0].startswith("--workers must be")


def test_all_problems_are_told_at_once() -> None:
    lines = problems_of({"TOLLWAY_WORKRS": "2", "TOLLWAY_LISTEN": "x", "TOLLWAY_LOG_LEVEL": "y"})
    assert len(lines) == 3
    assert lines[0] == "TOLLWAY_WORKRS is not a setting: did you mean TOLLWAY_WORKERS?"


def test_an_unknown_variable_unlike_any_other_points_to_the_list() -> None:
    assert problems_of({"TOLLWAY_ZZZ": "1"}) == (
        "TOLLWAY_ZZZ is not a setting: docs/settings.md lists those there are.",
    )


def test_a_problem_is_a_startup_error_of_one_line_each() -> None:
    with pytest.raises(StartupError, match=r"^TOLLWAY_WORKERS must be .*\nTOLLWAY_LOG_LEVEL must be .*$"):
        read_settings({"TOLLWAY_WORKERS": "x", "TOLLWAY_LOG_LEVEL": "x"})


TOKEN = {"ADMIN_TOKEN": "0123456789abcdef"}
TLS = {"CONTROL_TLS_CERT": "cert.pem", "CONTROL_TLS_KEY": "key.pem"}


@pytest.mark.parametrize(
    ("case", "environ", "accepted"),
    [
        ("loopback needs nothing", {"CONTROL": "127.0.0.2:8090"}, True),
        ("localhost is loopback", {"CONTROL": "localhost:8090"}, True),
        ("IPv6 loopback too", {"CONTROL": "[::1]:8090"}, True),
        ("the network needs a token", {"CONTROL": "0.0.0.0:8090"}, False),
        ("no host means the network", {"CONTROL": ":8090"}, False),
        ("every address of IPv6 is one", {"CONTROL": "[::]:8090"}, False),
        ("so is a name", {"CONTROL": "gateway.internal:8090"}, False),
        ("and a name that only looks like loopback", {"CONTROL": "localhost.example:8090"}, False),
        ("a token alone is readable on its way", {"CONTROL": ":8090", **TOKEN}, False),
        ("TLS alone guards nothing", {"CONTROL": ":8090", **TLS}, False),
        ("a token and TLS open it", {"CONTROL": ":8090", **TOKEN, **TLS}, True),
        ("so does saying so", {"CONTROL": ":8090", "CONTROL_WIDE": "yes"}, True),
    ],
)
def test_the_control_port_is_not_opened_by_accident(
    case: str, environ: dict[str, str], accepted: bool
) -> None:
    prefixed = {f"TOLLWAY_{name}": text for name, text in environ.items()}
    if accepted:
        read_settings(prefixed)
    else:
        assert "is open to the network: set TOLLWAY_ADMIN_TOKEN" in problems_of(prefixed)[0]


def test_a_socket_is_no_place_for_the_control_port() -> None:
    (line,) = problems_of({"TOLLWAY_CONTROL": "unix:/run/tollway.sock"})
    assert line == "TOLLWAY_CONTROL must be host:port, like 127.0.0.1:8080"


def test_half_a_certificate_of_the_control_port_is_told() -> None:
    (line,) = problems_of({"TOLLWAY_CONTROL_TLS_CERT": "cert.pem"})
    assert line.startswith("TOLLWAY_CONTROL_TLS_CERT and TOLLWAY_CONTROL_TLS_KEY go together")


def test_every_worker_needs_room_for_its_journal() -> None:
    read_settings({"TOLLWAY_WORKERS": "4", "TOLLWAY_JOURNAL_MAX_MB": "128"})
    (line,) = problems_of({"TOLLWAY_WORKERS": "4", "TOLLWAY_JOURNAL_MAX_MB": "127"})
    assert line == "TOLLWAY_JOURNAL_MAX_MB must be at least 32 for each of 4 workers, got 127"


def test_two_ports_on_one_address_are_told_before_anything_starts() -> None:
    lines = problems_of({}, {"listen": "127.0.0.1:8091"})
    assert lines == ("TOLLWAY_PORTAL 127.0.0.1:8091 is already taken by --listen",)
    read_settings({}, {"listen": "127.0.0.1:0", "control": "127.0.0.1:0"})


def test_no_secret_is_in_the_repr() -> None:
    settings = read_settings(
        {
            "TOLLWAY_DATABASE_URL": "postgresql://u:hunter2@db/x",
            "TOLLWAY_REDIS_URL": "redis://:hunter2@redis",
            "TOLLWAY_ADMIN_TOKEN": "hunter2hunter2hunter2",
        }
    )
    assert "hunter2" not in repr(settings)
    assert settings.database_url == "postgresql://u:hunter2@db/x"


def test_the_portal_url_customers_see_has_no_slash_at_the_end() -> None:
    settings = read_settings({"TOLLWAY_PORTAL_URL": "https://pay.example.com/"})
    assert settings.portal_base_url == "https://pay.example.com"
    assert read_settings({"TOLLWAY_PORTAL": ":9091"}).portal_base_url == "http://127.0.0.1:9091"


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "gateway.internal:65535"])
def test_an_address_reads_back_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_every_setting_says_what_it_is() -> None:
    assert len(DECLARED) == len(fields(Settings))
    for one in DECLARED:
        assert re.fullmatch(r"TOLLWAY_[A-Z_]+", one.name)
        assert one.default
        assert one.about.endswith(".")


def test_a_mail_server_needs_a_sender() -> None:
    url = "smtp://user:p4ssw0rd@mail.example"
    (said,) = problems_of({"TOLLWAY_SMTP_URL": url})
    assert said == "TOLLWAY_SMTP_URL needs TOLLWAY_MAIL_FROM: an address that may send there"
    settings = read_settings({"TOLLWAY_SMTP_URL": url, "TOLLWAY_MAIL_FROM": "gateway@example.com"})
    assert "p4ssw0rd" not in repr(settings)
