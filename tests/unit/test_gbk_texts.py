"""Which texts are taken for Chinese in GBK, by their bytes alone."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.connectors.database.gbk import looks_like_gbk

CHINESE = (
    "张伟", "王芳", "李娜", "欧阳修", "朱镕基", "陈喆", "司马光", "诸葛亮",
    "北京市海淀区中关村大街27号", "上海市浦东新区世纪大道100号2单元", "已办结", "未受理(补正材料)",
    "经营范围：批发、零售；货物进出口。", "法定代表人变更", "A座3层", "",
)  # fmt: skip
FRENCH = (
    "créée", "Éléonore Lefèvre", "à côté de l'hôtel", "déjà été", "CRÉÉE LE 1ER AOÛT", "ÉÈ",
    "Noël", "naïveté", "cœur".replace("œ", "oe"), "où ça?", "«Liberté»", "L'ÉTÉ À LA FORÊT",
)  # fmt: skip
GERMAN = (
    "Müller", "Straße", "Größe", "ÄÖÜ äöü ß", "Übergrößenträger", "Bäärenhäähne", "10 °C",
    "STRAßE", "MÜLLER & SÖHNE", "§§ 1, 2", "Fußgängerübergänge",
)  # fmt: skip
OTHERS = ("jäääär", "hääyöaie", "Ångström", "São João", "¿Qué?", "½ ± ¼", "Þórður", "ÆØÅ")

# Common characters. A second byte below 0xC0 may make UTF-8 of both
LEVEL_1 = [
    bytes([lead, trail]).decode("gb2312")
    for lead in range(0xB0, 0xD7)
    for trail in range(0xC0, 0xFF)
]
LATIN = [chr(code) for code in range(0xA0, 0x100)]


def test_chinese_is_seen() -> None:
    assert looks_like_gbk([text.encode("gbk") for text in CHINESE])
    assert looks_like_gbk([text.encode("gbk") for text in CHINESE[:8]])
    assert looks_like_gbk([b"", b"abc", "中文，李四".encode("gbk")])


@pytest.mark.parametrize("texts", [FRENCH, GERMAN, OTHERS, (*FRENCH, *GERMAN, *OTHERS)])
def test_texts_of_europe_are_not_taken_for_it(texts: Sequence[str]) -> None:
    assert not looks_like_gbk([text.encode("latin-1") for text in texts])
    assert not looks_like_gbk([text.encode("cp1252") for text in texts])
    assert not looks_like_gbk([text.encode() for text in texts])


def test_utf8_is_not_taken_for_it() -> None:
    """Whatever it says."""
    assert not looks_like_gbk([text.encode() for text in CHINESE])


def test_a_few_characters_are_no_proof() -> None:
    assert not looks_like_gbk([])
    assert not looks_like_gbk(["张".encode("gbk"), "王".encode("gbk"), b"abc"])


@given(st.lists(st.text(st.characters(codec="ascii"))))
def test_ascii_is_no_chinese(texts: list[str]) -> None:
    assert not looks_like_gbk([text.encode() for text in texts])


@given(
    st.lists(st.text(st.sampled_from(LEVEL_1), min_size=1), min_size=4),
    st.lists(st.text(st.characters(codec="ascii"))),
)
def test_common_characters_are_seen_among_ascii(chinese: list[str], plain: list[str]) -> None:
    texts = [a + b for a, b in zip(chinese, [*plain, *[""] * len(chinese)], strict=False)]
    assert looks_like_gbk([text.encode("gbk") for text in [*texts, *plain]])


@given(
    st.lists(
        st.lists(
            st.tuples(st.text(st.characters(codec="ascii"), min_size=1), st.sampled_from(LATIN))
        )
    )
)
@example([[("M", "ü"), ("ller", "é")]])
def test_a_letter_with_an_accent_between_plain_ones_is_no_chinese(
    texts: list[list[tuple[str, str]]],
) -> None:
    written = ["".join([plain + letter for plain, letter in parts]) for parts in texts]
    assert not looks_like_gbk([text.encode("latin-1") for text in written])


@given(st.lists(st.binary()))
def test_any_bytes_are_judged(texts: list[bytes]) -> None:
    looks_like_gbk(texts)
