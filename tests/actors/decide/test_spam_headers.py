import pytest

from actors.config import HeadersConfig, JudgementConfig
from actors.decide.score import Points
from actors.decide.spam_headers import SUBJECT_BYTES_MAX, Judgement, spam_header_edits, stale_fields
from actors.model import Action, AddHeader, ChangeHeader, DeleteHeader, Message

CONFIG = JudgementConfig()
POINTS = (Points("classifier", 624, "why"), Points("spf", 100, "why"))


def judgement(action: Action = Action.ADD_HEADER, *, is_spam: bool = True, missing: tuple[str, ...] = ()) -> Judgement:
    return Judgement(action, 7.24, is_spam, POINTS, missing)


def added(judged: Judgement, block: bytes = b"", config: JudgementConfig = CONFIG) -> list[object]:
    return list(spam_header_edits(judged, Message(header_block=block), config))


def test_spam_gets_flag_score_and_status() -> None:
    assert added(judgement()) == [
        AddHeader(b"X-Spam-Flag", b"YES"),
        AddHeader(b"X-Spam-Score", b"7.24"),
        AddHeader(b"X-Spam-Status", b"Yes, score=7.24 required=5.00 tests=[classifier=6.24, spf=1.00]"),
    ]


def test_ham_gets_no_flag() -> None:
    names = [edit.name for edit in added(judgement(Action.ACCEPT, is_spam=False)) if isinstance(edit, AddHeader)]
    assert names == [b"X-Spam-Score", b"X-Spam-Status"]


def test_a_status_without_points_lists_none() -> None:
    empty = Judgement(Action.ACCEPT, 0.0, is_spam=False, points=(), missing=())
    assert added(empty)[-1] == AddHeader(b"X-Spam-Status", b"No, score=0.00 required=5.00 tests=[]")


def test_many_symbols_are_folded_and_capped() -> None:
    many = Judgement(Action.ADD_HEADER, 1.0, True, tuple(Points(f"symbol.{n}", 1, "") for n in range(200)), ())
    status = added(many)[-1]
    assert isinstance(status, AddHeader)
    assert status.value.count(b"symbol.") == 50
    assert max(map(len, status.value.split(b"\r\n"))) <= 100


def test_missing_actors_are_named() -> None:
    assert added(judgement(missing=("dkim", "policy")))[-1] == AddHeader(b"X-Tamis-Degraded", b"dkim policy")


def test_the_mark_of_unfiltered_mail_is_the_gateways_alone() -> None:
    block = b"X-Tamis-Unfiltered: unreachable\r\n"
    assert tuple(stale_fields(Message(header_block=block), CONFIG.headers)) == (DeleteHeader(b"X-Tamis-Unfiltered", 1),)


def test_a_name_folded_before_the_colon_is_deleted_too() -> None:
    block = b"X-Spam-Flag\r\n : NO\r\nX-Spam-Flag: NO\r\nodd line\r\n"
    assert tuple(stale_fields(Message(header_block=block), CONFIG.headers)) == (
        DeleteHeader(b"X-Spam-Flag", 2),
        DeleteHeader(b"x-spam-flag", 1),
    )


@pytest.mark.parametrize(
    ("missing", "uninspected", "value"),
    [
        ((), "depth, encrypted", b"antivirus (depth, encrypted)"),
        (("antivirus", "dkim"), "depth", b"dkim antivirus (depth)"),
        ((), "a) X-Spam-Flag:\r\n NO (\x00\xe9\\", b"antivirus (a X-Spam-Flag:?? NO ??)"),
    ],
)
def test_what_was_not_inspected_is_named(missing: tuple[str, ...], uninspected: str, value: bytes) -> None:
    judged = Judgement(Action.ACCEPT, 0.0, is_spam=False, points=(), missing=missing, uninspected=uninspected)
    assert added(judged)[-1] == AddHeader(b"X-Tamis-Degraded", value)


def test_a_long_list_of_what_was_not_inspected_is_cut_and_folded() -> None:
    judged = Judgement(Action.ACCEPT, 0.0, is_spam=False, points=(), missing=(), uninspected="encrypted, " * 1000)
    (field,) = [edit for edit in added(judged) if isinstance(edit, AddHeader) and edit.name == b"X-Tamis-Degraded"]
    assert len(field.value) < 250
    assert max(map(len, field.value.split(b"\r\n"))) <= 100


def test_mail_that_is_not_scored_names_the_rule_in_its_status() -> None:
    judged = Judgement(Action.ACCEPT, 0.0, is_spam=False, points=(), missing=(), unscored="allowed")
    assert added(judged)[-1] == AddHeader(b"X-Spam-Status", b"No, score=0.00 required=5.00 tests=[allowed]")


def test_names_are_those_of_the_configuration() -> None:
    config = JudgementConfig(headers=HeadersConfig(flag="X-Junk", score="", status=""))
    assert added(judgement(), config=config) == [AddHeader(b"X-Junk", b"YES")]


def test_incoming_fields_of_our_names_are_deleted_each_names_last_one_first() -> None:
    block = b"x-spam-flag: NO\r\nX-Spam-Score : -9\r\nSubject: a\r\nX-SPAM-FLAG: NO\r\nX-Spam-Level: *\r\n"
    assert tuple(stale_fields(Message(header_block=block), CONFIG.headers)) == (
        DeleteHeader(b"X-Spam-Score", 1),
        DeleteHeader(b"X-SPAM-FLAG", 2),
        DeleteHeader(b"x-spam-flag", 1),
    )


@pytest.mark.parametrize(
    ("block", "edit"),
    [
        (b"Subject: offer\r\n", ChangeHeader(b"Subject", 1, b"[SPAM] offer")),
        (b"SUBJECT:offer\r\n more\r\n", ChangeHeader(b"Subject", 1, b"[SPAM] offer\r\n more")),
        (b"Subject: a\nX-Evil: b\r\n", ChangeHeader(b"Subject", 1, b"[SPAM] aX-Evil: b")),
        (b"From: a@b\r\n", AddHeader(b"Subject", b"[SPAM]")),
    ],
)
def test_the_subject_is_tagged_when_the_action_says_so(block: bytes, edit: object) -> None:
    assert added(judgement(Action.REWRITE_SUBJECT), block)[-1] == edit


def test_a_subject_that_we_rewrite_is_cut() -> None:
    edit = added(judgement(Action.REWRITE_SUBJECT), b"Subject: a" + b"\r\n " * 50_000 + b"b\r\n")[-1]
    assert edit == ChangeHeader(b"Subject", 1, b"[SPAM] a")
    edit = added(judgement(Action.REWRITE_SUBJECT), b"Subject: " + b"word " * 50_000 + b"\r\n")[-1]
    assert isinstance(edit, ChangeHeader)
    assert len(edit.value) <= SUBJECT_BYTES_MAX + len(b"[SPAM] ")


def test_a_subject_is_not_tagged_twice() -> None:
    edits = added(judgement(Action.REWRITE_SUBJECT), b"Subject: [SPAM] offer\r\n")
    assert not any(isinstance(edit, ChangeHeader) for edit in edits)


@pytest.mark.parametrize("settings", [{"flag": "X Spam"}, {"score": "X:Y"}, {"status": "Ü"}, {"authserv_id": "a\nb"}])
def test_names_that_no_field_can_have_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        HeadersConfig(**settings)
