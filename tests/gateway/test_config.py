import msgspec
import pytest

from gateway.cells import parse_host_port
from gateway.config import GatewayConfig, GatewayRoot, with_addresses
from wire.config import ConfigError, defaults, parse


def test_the_shipped_defaults_take_4000_sessions_and_tempfail() -> None:
    config = defaults(GatewayRoot).gateway
    assert config.sessions_max >= 4000
    assert set(msgspec.structs.asdict(config.on_failure).values()) == {"tempfail"}
    assert not any(msgspec.structs.asdict(config.fallback).values())
    assert config.listen == ("inet:11332@127.0.0.1",)
    assert config.end_of_message_budget_s < 300


def test_sections_of_other_processes_are_theirs() -> None:
    root = parse("[dns]\nnameservers = [1]\n[gateway]\nsessions_max = 5\n[trace]\nslow_ms = 7\n", GatewayRoot)
    assert (root.gateway.sessions_max, root.trace.slow_ms) == (5, 7)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[gateway]\nlisten = []", "conf:1: `listen` and `ingress` need at least one address each (at gateway)"),
        ("[gateway]\n\nlisten = 5", "conf:3: Expected `array`, got `int` (at gateway.listen)"),
        ("[gateway]\nsessions = 5", "conf:2: unknown key `sessions` (at gateway.sessions)"),
        ("[trace]\nfoo = 5", "conf:2: unknown key `foo` (at trace.foo)"),
        ("[gatewy]\nfoo = 5", "conf:1: unknown section [gatewy]"),
        (
            "[gateway.on_failure]\ntimeout = 'pass'",
            "conf:1: `timeout` must be one of tempfail, accept, reject, quarant",
        ),
        ("[gateway.on_failure]\nlost = 'accept'", "conf:2: unknown key `lost` (at gateway.on_failure.lost)"),
        (
            "[gateway.fallback]\nallow_clients = ['10.0.0.1/8']",
            "`allow_clients`: '10.0.0.1/8' is no network or address",
        ),
        ("[gateway.fallback]\nmessage_bytes_max = -1", "`message_bytes_max` must not be negative"),
        ("[gateway.fallback.rules]\nspf = 'reject'", "`rules`: 'spf' is none of forged_helo, bare_ip_helo, no_from"),
        ("[gateway.fallback.rules]\nno_from = 'accept'", "`rules`: no_from must be reject or tempfail"),
        ("[gateway]\nlisten = ['inet:x@y']", "the port must be a number"),
        ("[gateway]\ningress = ['nohost']", "'nohost' is not host:port"),
        ("[gateway]\ningress = ['127.0.0.1:1', '[::1]:1', '127.0.0.1:01']", "`ingress` names 127.0.0.1:01 twice"),
        ("[gateway]\ningress = ['mx.example:1']", "mx.example:1 is not on loopback: that needs [gateway.tls]"),
        ("[gateway]\ningress = ['srv:n']", "srv:n is not on loopback: that needs [gateway.tls]"),
        ("[gateway]\ningress = ['srv:.']", "'srv:.' names nothing to look up"),
        ("[gateway]\n[[gateway.cells]]\nname = 'n'\ningress = '192.0.2.1:1'", "192.0.2.1:1 is not on loopback"),
        ("[gateway]\n\n[[gateway.cells]]\nname = 'n'\n", "conf:3: Object missing required field `ingress`"),
        ("[gateway]\n[[gateway.cells]]\nname = 'n'\nweigth = 1\n", "conf:4: unknown key `weigth`"),
        (
            "[gateway]\ningress = ['[::1]:1']\n[[gateway.cells]]\nname = 'n'\ningress = '127.0.0.1:1'",
            "`ingress` and `cells` exclude each other",
        ),
        (
            "[gateway]\ncells = [{name = 'n', ingress = '[::1]:1'}, {name = 'n', ingress = '[::1]:2'}]",
            "two `cells` have the same name",
        ),
        ("[gateway.tls]\nkey = 'k'", "`certificate`, `key` and `authority` belong together"),
        ("[gateway]\ncompression = 'zstd'", "`compression` must be one of none, gzip, deflate"),
        ("[gateway]\nnameservers = ['192.0.2.1']", "'192.0.2.1' is not host:port"),
        ("[gateway]\nidle_timeout_s = 14400", "`idle_timeout_s` must be below 14400"),
        ("[gateway]\nsocket_mode = 'rw'", "`socket_mode` must be an octal number"),
        ("[gateway]\nsessions_max = 0", "`sessions_max` must be more than 0"),
        ("[gateway]\nend_of_message_budget_s = 300", "`end_of_message_budget_s` must be"),
        ("[gateway]\nmessage_bytes_max = 999999999", "`message_bytes_max` must be between"),
        ("[gateway]\nheld_bytes_max = 5", "`held_bytes_max` must not be below"),
        ("[gateway.early]\nstages = ['data']", "`stages` must be one of connect, helo, mail, rcpt"),
        ("[gateway.early]\nmail_budget_s = 30", "`mail_budget_s` must be more than 0 and below 30"),
        ("[gateway]\ningress_budget_s = 0", "`ingress_budget_s` must be more than 0"),
        ("[gateway]\ndrain_s = -1", "`drain_s` must not be negative"),
    ],
)
def test_every_mistake_is_one_line(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, GatewayRoot, name="conf")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_list_of_ingresses_is_one_cell_and_several_cells_are_tables() -> None:
    (cell,) = parse("[gateway]\ningress = ['localhost:1', '127.0.0.2:1']", GatewayRoot).gateway.all_cells
    assert cell.ingress == ("localhost:1", "127.0.0.2:1")
    text = "[[gateway.cells]]\nname='n'\ningress='mx:1'\n[[gateway.cells]]\nname='s'\ningress='srv:s'\npriority=1\n"
    tls = "[gateway.tls]\ncertificate = 'c'\nkey = 'k'\nauthority = 'a'\n"
    config = parse(text + tls, GatewayRoot).gateway
    assert [(cell.name, cell.ingress, cell.priority) for cell in config.all_cells] == [
        ("n", ("mx:1",), 0),
        ("s", ("srv:s",), 1),
    ]
    assert with_addresses(config, [], ["[::1]:5"]).all_cells[0].ingress == ("[::1]:5",)


def test_addresses_of_the_command_line_count_instead_of_the_files() -> None:
    config = GatewayConfig(sessions_max=7)
    changed = with_addresses(config, ["unix:/tmp/x"], [])
    assert (changed.listen, changed.ingress, changed.sessions_max) == (("unix:/tmp/x",), config.ingress, 7)
    with pytest.raises(ValueError, match="nonsense"):
        with_addresses(config, ["nonsense"], [])


@pytest.mark.parametrize(
    ("text", "expected"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))]
)
def test_host_and_port_are_parted(text: str, expected: tuple[str, int]) -> None:
    assert parse_host_port(text) == expected


@pytest.mark.parametrize("text", ["", "80", ":80", "h:", "h:x", "h:65536", "h:-1", "h:\u00b2"])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_host_port(text)
