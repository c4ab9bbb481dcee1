"""What becomes of opendkim.conf and opendmarc.conf; tests/live/test_opendkim_import.py asks opendkim itself."""

import subprocess
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.opendkim_conf import INCLUDES_MAX, ConfError, Setting, read_settings
from cli.opendkim_keywords import CARRIED, FORMER, KNOWN, NOT_CARRIED, ON_ACTIONS, SPECIAL, WITHOUT_OBJECT
from tests.cli.importing import imported
from tests.conftest import skip_or_fail

# -- reading


def settings_of(**files: str) -> list[tuple[str, str, str]]:
    found = read_settings(Path("a"), lambda path: files[str(path)])
    return [(one.keyword, one.value, one.place) for one in found]


def test_lines_are_keyword_and_value_and_comments_end_them() -> None:
    text = "# head\n\n Mode\t s v # tail\nLone\r\nX y\r\n"
    assert settings_of(a=text) == [("Mode", "s v", "a:3"), ("Lone", "", "a:4"), ("X", "y", "a:5")]


def test_included_files_stand_in_their_place() -> None:
    assert settings_of(a="A 1\ninclude b\nC 3", b="B 2") == [("A", "1", "a:1"), ("B", "2", "b:1"), ("C", "3", "a:3")]


@pytest.mark.parametrize("levels", [INCLUDES_MAX, INCLUDES_MAX + 1])
def test_files_include_each_other_five_levels_deep(levels: int) -> None:
    files = {f"{number}": f"Include {number + 1}" for number in range(levels)} | {str(levels): "Mode s"}
    files["a"] = files.pop("0")
    if levels <= INCLUDES_MAX:
        assert settings_of(**files) == [("Mode", "s", f"{levels}:1")]
    else:
        with pytest.raises(ConfError, match="5:1: files include each other more than 5 levels"):
            settings_of(**files)


def test_files_that_include_many_end_in_an_error() -> None:
    files = {str(level): f"Include {level + 1}\n" * 50 for level in range(5)} | {"5": "", "a": "Include 1\n" * 50}
    with pytest.raises(ConfError, match="include"):
        settings_of(**files)


def test_a_missing_file_is_named_with_the_line_that_includes_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"\nInclude {tmp_path}/gone\n")
    with pytest.raises(ConfError, match=rf"a:2: {tmp_path}/gone: No such file"):
        read_settings(tmp_path / "a", Path.read_text)


def test_a_setting_does_not_show_its_value() -> None:
    assert "hush" not in repr(Setting("KeyTable", "dsn:mysql://u:hush@h/d", "a:1"))


# -- keywords


def test_every_keyword_has_one_place() -> None:
    places = [*CARRIED, *WITHOUT_OBJECT, *NOT_CARRIED, *ON_ACTIONS, *FORMER, *SPECIAL, "SignatureAlgorithm"]
    assert len(places) == len(set(places)) == len(KNOWN)


@pytest.mark.live
def test_every_keyword_of_the_manual_is_known() -> None:
    try:
        page = subprocess.run(["man", "opendkim.conf"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        skip_or_fail("man opendkim.conf is missing: tests/services/install")
    plain = [line for line in page.splitlines() if line[:7] == " " * 7 and line[7:8].strip()]
    words = [line.split() for line in plain]
    keywords = [one[0] for one in words if len(one) > 1 and one[1].startswith("(") and one[-1].endswith(")")]
    assert len(keywords) > 130
    assert [one for one in keywords if one.lower() not in KNOWN] == ["Include"]


_WHOLE = """
AuthservID mx.example.org
canonicalization RELAXED/simple
ClockDrift 0x10
DNSTimeout 5
DontSignMailTo list@example.net
ExemptDomains exempt.example
ExternalIgnoreList refile:/etc/tamis/hosts
InternalHosts 127.0.0.1,10.0.0.0/8
MacroList auth_level=1|2
MaximumSignaturesToVerify 7
Minimum 100%
MinimumKeyBits 2048
Mode s
MTA submission
MultipleSignatures yes
Nameservers 192.0.2.1, 192.0.2.2
PeerList /etc/tamis/peers
ResignAll yes
ResignMailTo list.example=k
RemoveARFrom a.example,b.example
RequireSafeKeys no
SenderHeaders Sender,From
SignatureTTL 86400
KeyTable refile:/etc/tamis/keys
SigningTable refile:/etc/tamis/signing
On-InternalError q
On-BadSignature r
AuthservIDWithJobID yes
MustBeSigned Subject,To
RequiredHeaders yes
TrustSignaturesFrom trusted.example
SignatureAlgorithm rsa-sha256
Socket inet:8891@localhost
SoftStart yes
SendReports no
BogusKey none
"""


def test_what_is_ours_too_is_carried(tmp_path: Path) -> None:
    result = imported(tmp_path, _WHOLE)
    assert result.exit_code == 0, result.all_remarks()
    config, signing = result.config, result.config.dkim.signing
    assert (config.headers.authserv_id, config.headers.removed_authserv_ids) == (
        "mx.example.org",
        ("a.example", "b.example"),
    )
    assert (config.dns.nameservers, config.dns.timeout_s) == (("192.0.2.1", "192.0.2.2"), 5.0)
    assert (config.dkim.clock_drift_s, config.dkim.signatures_max, config.dkim.key_bits_min) == (16, 7, 2048)
    assert (config.dkim.unsigned_tail, config.policy.on_error.dkim) == ("fail", "quarantine")
    assert (signing.key_bits_min, signing.signature_ttl_s, signing.mode) == (2048, 86_400, "s")
    assert (signing.canonicalization, signing.sender_headers) == ("relaxed/simple", ("sender", "from"))
    assert (signing.multiple_signatures, signing.require_safe_keys) == (True, False)
    assert (signing.key_table, signing.signing_table) == ("refile:/etc/tamis/keys", "refile:/etc/tamis/signing")
    assert (signing.internal_hosts, signing.external_ignore_list, signing.peer_list) == (
        "127.0.0.1,10.0.0.0/8",
        "refile:/etc/tamis/hosts",
        "/etc/tamis/peers",
    )
    assert (signing.exempt_domains, signing.dont_sign_mail_to) == ("exempt.example", "list@example.net")
    assert (signing.mta, signing.macro_list) == ("submission", "auth_level=1|2")
    assert config.gateway.macros == ("auth_level",)
    assert (signing.resign_mail_to, signing.resign_all) == ("list.example=k", True)
    assert config.headers.authserv_id_with_queue_id
    assert (config.dkim.must_be_signed, config.dkim.signers_first) == (("subject", "to"), ("trusted.example",))
    assert (config.policy.on_form.fields, config.policy.on_dkim.bad_signature) == ("reject", "reject")
    assert {"Socket", "SoftStart", "SendReports", "BogusKey", "SignatureAlgorithm"} == set(
        result.told["without_object"]
    )
    assert [text.partition(":")[0] for text in result.told["different"]] == [
        "On-DNSError",
        "On-Security",
        "On-SignatureError",
        "OversignHeaders",
        "SignHeaders",
    ]


def test_each_line_of_the_configuration_says_where_it_comes_from(tmp_path: Path) -> None:
    text = imported(tmp_path, "Mode v\nMode s\n").told["config"]
    assert f'mode = "s"  # {tmp_path}/opendkim.conf:2 Mode' in text.splitlines()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("RemoveOldSignatures yes", "other signatures stay"),
        ("SetupPolicyScript /etc/opendkim/setup.lua", "no Lua scripts"),
        ("MaximumSignedBytes 1000", "l="),
        ("SignatureAlgorithm rsa-sha1", "RFC 8301"),
        ("AuthservID HOSTNAME", "write the name of this host"),
        ("Minimum 50%", "no amounts"),
        ("MinimumKeyBits 512", "at least 1024"),
        ("DNSTimeout 0", "greater than 0"),
        ("MaximumSignaturesToVerify 0", "at least 1"),
        ("SignatureTTL 999999999", "at most"),
        ("InternalHosts ldapi://host/base", "kind `ldapi:`"),
        ("PeerList /var/db/peers.db", "kind `db:`"),
        ("On-SignatureError r", "knows tempfail and unsigned"),
        ("On-InternalError discard", "knows ignore"),
        ("ADSPAction discard", "of a former version"),
        ("KeyTable file:/etc/keys", "need each other"),
        ("Domain example.org", "need each other"),
        ("UnprotectedKey fail", "DNSSEC"),
    ],
)
def test_what_is_not_carried_is_told_with_its_line_and_reason(line: str, reason: str, tmp_path: Path) -> None:
    result = imported(tmp_path, f"Syslog yes\n{line}\n")
    assert result.exit_code == 1
    (lost,) = result.told["not_carried"]
    assert f"opendkim.conf:2: {line.split(maxsplit=1)[0]}: " in lost
    assert reason in lost
    assert result.config.dkim.signing.key_table == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Canonicalisation simple", "no such keyword; Canonicalization?"),
        ("Xyzzy 1", "has no such keyword"),
        ("Mode", "has no value"),
        ("SubDomains maybe", "neither yes nor no"),
        ("ClockDrift soon", "is no number"),
        ("On-DNSError panic", "is none of accept"),
    ],
)
def test_what_opendkim_would_not_take_is_told_with_its_line(line: str, reason: str, tmp_path: Path) -> None:
    result = imported(tmp_path, f"Domain example.org\nSelector s\nKeyFile /k\n{line}\n")
    assert result.exit_code == 1
    (mistake,) = result.told["not_understood"]
    assert "opendkim.conf:4: " in mistake
    assert reason in mistake


def test_on_default_is_said_for_what_is_not_said_itself(tmp_path: Path) -> None:
    result = imported(tmp_path, "On-KeyNotFound accept\nOn-Default tempfail\n")
    assert result.config.policy.on_error.dkim == "tempfail"
    on_dkim = result.config.policy.on_dkim
    assert (on_dkim.bad_signature, on_dkim.dns_error, on_dkim.no_signature, on_dkim.security) == ("tempfail",) * 4
    assert on_dkim.key_not_found == "accept"
    assert result.config.dkim.signing.on_failure == "tempfail"


def test_lists_of_fields_are_whole_or_changes_of_opendkims_own(tmp_path: Path) -> None:
    (tmp_path / "oversign").write_text("From\nList-Id\n")
    signing = imported(
        tmp_path,
        f"SignHeaders *,+X-One,-List-Archive,-Subject\nOmitHeaders .,x\nOversignHeaders file:{tmp_path}/oversign\n",
    ).config.dkim.signing
    assert signing.sign_headers[:4] == ("from", "reply-to", "date", "to")
    assert signing.sign_headers[-2:] == ("list-owner", "x-one")
    assert signing.omit_headers == (".", "x")
    assert signing.oversign_headers == ("from", "list-id")


def test_secrets_are_in_no_remark(tmp_path: Path) -> None:
    result = imported(
        tmp_path,
        "LDAPBindPassword hush1\nKeyTable csl:k=example.org:s:hush2\nSigningTable csl:*=k\n"
        "InternalHosts ldap://u:hush3@h/b\nHushKeyword hush4\n",
    )
    assert result.exit_code == 1
    assert "opendkim.conf:2: KeyTable: `key_table` is a list whose keys are not all paths" in result.all_remarks()
    assert "hush" not in result.all_remarks()
    assert "hush" not in result.told["config"]


def test_macros_that_can_be_none_are_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "macros").write_text("{auth_type}\ndaemon_name ORIGINATING\ndaemon_name=ORIGINATING\n")
    (lost,) = imported(tmp_path, f"MacroList file:{tmp_path}/macros\n").told["not_carried"]
    assert lost.startswith(f"{tmp_path}/opendkim.conf:1: MacroList: {tmp_path}/macros:3: is no name of a macro, ")
    assert lost.endswith("a line is NAME, or NAME VALUE|VALUE")
    (lost,) = imported(tmp_path, "MacroList auth_type,daemon_name|ORIGINATING\n").told["not_carried"]
    assert lost.startswith(f"{tmp_path}/opendkim.conf:1: MacroList: element 2 is no name of a macro, ")
    assert lost.endswith("an element is NAME, or NAME=VALUE|VALUE")


@pytest.mark.parametrize(
    "keys", ["KeyTable /keys\nSigningTable csl:*=k\n", "Domain a.example\nSelector s\nKeyFile /k\n"]
)
def test_whose_keys_may_be_is_said_where_there_are_any(keys: str, tmp_path: Path) -> None:
    told = imported(tmp_path, f"UserID opendkim\n{keys}").told
    (remark,) = [text for text in told["different"] if "UserID" in text]
    assert remark.startswith(f"{tmp_path}/opendkim.conf:1: UserID: ")
    assert "chown" in remark
    assert "UserID" not in told["without_object"]
    assert imported(tmp_path, "UserID opendkim\n").told["without_object"] == ["UserID"]


# -- files


def test_files_that_are_there_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "opendkim.conf").write_text("Mode s\n")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["import", str(tmp_path / "opendkim.conf"), "--out", str(tmp_path / "out")])
    assert (ended.value.code, (tmp_path / "out").read_text()) == (2, "mine")
    assert "File exists" in capsys.readouterr().err


def test_a_file_that_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["import", str(tmp_path / "gone")])
    assert (ended.value.code, capsys.readouterr().err) == (
        2,
        f"tamis import: {tmp_path}/gone: No such file or directory\n",
    )


# -- OpenDMARC


def test_opendmarc_is_told_by_the_name_of_its_file(tmp_path: Path) -> None:
    text = (
        "AuthservID mx.example.org\nDNSTimeout 5\nRejectFailures true\nPublicSuffixList /usr/share/publicsuffix/list\n"
        "Socket local:/run/opendmarc/s\nUserID opendmarc\nSPFSelfValidate true\nSoftwareHeader no\n"
        "DomainWhitelist a.example, B.example\nRequiredHeaders yes\nRejectMultiValueFrom yes\nAuthservIDWithJobID no\n"
    )
    result = imported(tmp_path, text, name="opendmarc.conf")
    assert result.exit_code == 0, result.all_remarks()
    policy = result.config.policy
    assert (policy.dmarc_reject, policy.dmarc_public_suffixes, result.config.dns.timeout_s) == (True, True, 5.0)
    assert result.config.headers.authserv_id == "mx.example.org"
    assert result.config.dkim.trusted_sealers == ("a.example", "b.example")
    assert (policy.on_form.fields, policy.on_form.from_multiple) == ("reject", "reject")
    assert result.told["without_object"] == ["Socket", "UserID", "SPFSelfValidate", "SoftwareHeader"]
    assert [one.partition(":")[0] for one in result.told["different"]] == ["RejectFailures", "IgnoreHosts"]


@pytest.mark.parametrize(
    ("line", "heading", "reason"),
    [
        ("HistoryFile /var/run/opendmarc.dat", "not_carried", "`tamis dmarc report`"),
        ("FailureReports yes", "not_carried", "aggregate"),
        ("AuthservID HOSTNAME", "not_carried", "write the name of this host"),
        ("DNSTimeout 0", "not_carried", "greater than 0"),
        ("RejectFailure yes", "not_understood", "RejectFailures?"),
        ("RejectFailures perhaps", "not_understood", "neither yes nor no"),
        ("Canonicalization simple", "not_understood", "OpenDMARC 1.4 has no such keyword"),
    ],
)
def test_what_opendmarc_has_and_we_have_not_is_told(line: str, heading: str, reason: str, tmp_path: Path) -> None:
    result = imported(tmp_path, f"Syslog yes\n{line}\n", name="opendmarc.conf")
    assert result.exit_code == 1
    (remark,) = result.told[heading]
    assert "opendmarc.conf:2: " in remark
    assert reason in remark
