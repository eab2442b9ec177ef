"""Guesses by names and comments which columns hold personal data.

A guess only decides what is shared until somebody chooses: it is better to ask once too often.
Names are compared word by word, in English, in pinyin and its first letters as programs of units
have them; comments, and names in Chinese, are searched for the Chinese words. First letters that
mostly mean something else (sj: 手机 or 时间, yx: 邮箱 or 有效) are no sign.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from agent.messages import mark


class Kind(NamedTuple):
    """One kind of personal data, and the signs of it."""

    name: str  # a catalogue message
    words: frozenset[str]  # in a column's name, each one word or several that follow one another
    chinese: re.Pattern[str]


def _kind(name: str, words: str, chinese: str) -> Kind:
    return Kind(name, frozenset(words.split()), re.compile(chinese))


# A word that is written with _ here stands in the name as several words, or as one
KINDS = (
    _kind(
        mark("identity card"),
        "id_card id_card_no id_no idno idcard id_number identity_card identity_no cert_no certno "
        "cert_id cert_num certificate_no sfz sfzh sfzhm sfzjh sfzjhm zjh zjhm zjhao gmsfhm gmsfzh "
        "shenfenzheng shenfenzhenghao zhengjianhao zhengjianhaoma citizen_id national_id",
        "身份证|身份号码|公民身份|证件号|证件编号",
    ),
    _kind(
        mark("passport"),
        "passport passport_no huzhao huzhaohao hzhm",
        "护照|通行证号|居留证号",
    ),
    _kind(
        mark("phone number"),
        "phone phone_no phone_num tel telno tel_no telephone mobile mobile_no mobilephone "
        "cellphone cell_phone contact_phone sjh sjhm dh dhhm lxdh yddh gddh lianxidianhua "
        "shouji shoujihao shoujihaoma dianhua dianhuahaoma fax",
        "手机|电话|联系方式|传真",
    ),
    _kind(
        mark("address"),
        "address addr home_address home_addr residence dz jtdz jtzz hjdz hkdz xzz xzzdz txdz "
        "lxdz czdz dizhi zhuzhi jiatingdizhi jiatingzhuzhi hujidizhi",
        "地址|住址|住所|户籍地|居住地|门牌",
    ),
    _kind(
        mark("e-mail or messenger"),
        "email e_mail mail mailbox dzyx youxiang dianziyouxiang wechat weixin wxh openid "
        "open_id unionid qq qqh",
        "邮箱|电子邮件|微信|QQ号",
    ),
    _kind(
        mark("bank card or account"),
        "bank_card bankcard bank_account bank_acct bank_no card_no cardno account_no acct_no "
        "yhk yhkh yhkhm yhzh yinhangka yinhangkahao yinhangzhanghao zhanghao",
        "银行卡|银行账|银行帐|卡号|开户账|账号|帐号",
    ),
    _kind(
        mark("birth date"),
        "birth birthday birthdate birth_date date_of_birth dob born csrq csny chushengriqi "
        "chushengnianyue shengri",
        "出生|生日",
    ),
    _kind(
        mark("name of a person"),
        "full_name fullname real_name realname first_name last_name surname person_name xm "
        "xingming zsxm zhenshixingming lxr lxrxm contact_person",
        "姓名|联系人|曾用名",
    ),
    _kind(
        mark("social insurance or medical record"),
        "ssn social_security social_security_no sbh sbkh shbzh shebaohao shebaokahao ybkh "
        "medical_record medical_record_no blh diagnosis zhenduan",
        "社保|社会保障号|医保|病历|病案|诊断",
    ),
    _kind(
        mark("licence plate"),
        "plate plate_no plate_number license_plate licence_plate cph cphm chepai chepaihao",
        "车牌|号牌号码",
    ),
    _kind(
        mark("position of a person"),
        "longitude latitude lng gps jingdu weidu",
        "经度|纬度|定位",
    ),
    _kind(
        mark("biometric data"),
        "fingerprint face face_id face_image photo portrait zp zhaopian iris zhiwen",
        "指纹|人脸|照片|虹膜|头像",
    ),
    _kind(
        mark("password"),
        "password passwd pwd pass_word secret token salt mm mima kouling yhmm dlmm",
        "密码|口令|密钥|令牌",
    ),
)

_WORDS = 20  # of a name
_LONG = 5  # letters of a word that means the same in every sentence
_LOOKED_AT = 200  # characters of a comment

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_DIGITS = re.compile(r"\d+")
_CHINESE = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


def guess(name: str, comment: str = "") -> str:
    """Returns which kind of personal data a column seems to hold, as a message; '' for none."""
    runs = _runs(name)
    for kind in KINDS:
        if kind.words & runs or kind.chinese.search(name) or kind.chinese.search(comment):
            return kind.name
    return _english(comment)


def guesses(columns: Mapping[str, str]) -> dict[str, str]:
    """Returns the guesses of columns with their comments; a column without one is left out."""
    found = {}
    for name, comment in columns.items():
        kind = guess(name, comment)
        if kind:
            found[name] = kind
    return found


def _runs(name: str) -> set[str]:
    """Returns every run of words of a name: user_idCard2 has user, card, id_card and idcard."""
    words = [word.lower() for word in _WORD.findall(name) if not _DIGITS.fullmatch(word)]
    words = words[:_WORDS]
    runs = set()
    for first in range(len(words)):
        for behind in range(first + 1, len(words) + 1):
            part = words[first:behind]
            runs.add("_".join(part))
            runs.add("".join(part))
    return runs


def _english(comment: str) -> str:
    """Looks for the longer words in a comment that is no Chinese one.

    A short one may be anything in a sentence.
    """
    if _CHINESE.search(comment):
        return ""
    runs = _runs(comment[:_LOOKED_AT])
    for kind in KINDS:
        if any(word in runs for word in kind.words if len(word) >= _LONG):
            return kind.name
    return ""
