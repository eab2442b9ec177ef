"""Tests which columns count as personal data until somebody chooses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.setup.personal import KINDS, guess, guesses


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("id_card", "identity card"),
        ("IDCard", "identity card"),
        ("user_idCardNo2", "identity card"),
        ("sfzh", "identity card"),
        ("SFZHM", "identity card"),
        ("zjhm", "identity card"),
        ("fr_zjhm", "identity card"),
        ("身份证号", "identity card"),
        ("法人身份证件号码", "identity card"),
        ("passport_no", "passport"),
        ("mobile", "phone number"),
        ("contactPhone", "phone number"),
        ("TEL", "phone number"),
        ("lxdh", "phone number"),
        ("手机", "phone number"),
        ("home_address", "address"),
        ("addr1", "address"),
        ("jtdz", "address"),
        ("联系地址", "address"),
        ("email", "e-mail or messenger"),
        ("bankCardNo", "bank card or account"),
        ("yhkh", "bank card or account"),
        ("birthday", "birth date"),
        ("date_of_birth", "birth date"),
        ("csrq", "birth date"),
        ("出生日期", "birth date"),
        ("xm", "name of a person"),
        ("姓名", "name of a person"),
        ("cphm", "licence plate"),
        ("pwd", "password"),
        ("photo", "biometric data"),
    ],
)
def test_names_that_suggest_personal_data(name: str, kind: str) -> None:
    assert guess(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "id", "name", "district", "amount", "status", "update_time", "gxsj", "cj_sj", "sfyx",
        "hotel_id", "telemetry", "cardinality", "classroom", "qy_mc", "统一社会信用代码",
        "birthrate", "addressee_count", "xmbh", "dm", "bz", "create_date",
    ],
)  # fmt: skip
def test_names_that_do_not(name: str) -> None:
    assert guess(name) == ""


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("法定代表人身份证号码", "identity card"),
        ("联系电话（座机）", "phone number"),
        ("住址", "address"),
        ("mobile phone of the applicant", "phone number"),
        ("the applicant's birthday", "birth date"),
        ("", ""),
        ("amount of money, see id", ""),
        ("企业名称", ""),
    ],
)
def test_comments_that_suggest_personal_data(comment: str, kind: str) -> None:
    assert guess("c1", comment) == kind


@given(st.text(max_size=200), st.text(max_size=300))
def test_every_name_and_comment_has_an_answer(name: str, comment: str) -> None:
    assert guess(name, comment) in {"", *[kind.name for kind in KINDS]}


def test_only_columns_with_a_guess_are_named() -> None:
    found = guesses({"id": "", "sjh": "", "c3": "家庭住址"})
    assert found == {"sjh": "phone number", "c3": "address"}
