"""Quantities are read, rounded and printed as the tools that write manifests do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appc.errors import InvalidValue
from appc.quantity import MAX_BINARY, Quantity

KIB = 1024


@pytest.mark.parametrize(
    ("text", "value", "milli"),
    [
        ("0", 0, 0),
        ("1", 1, 1000),
        ("100m", 1, 100),
        ("1500m", 2, 1500),
        ("1.5", 2, 1500),
        ("0.3", 1, 300),
        ("8k", 8000, 8_000_000),
        ("8K", 8000, 8_000_000),
        ("7M", 7 * 10**6, 7 * 10**9),
        ("1G", 10**9, 10**12),
        ("5T", 5 * 10**12, 5 * 10**15),
        ("2P", 2 * 10**15, 2 * 10**18),
        ("1E", 10**18, 10**21),
        ("1Ki", KIB, KIB * 1000),
        ("7Mi", 7 * KIB**2, 7 * KIB**2 * 1000),
        ("2Gi", 2 * KIB**3, 2 * KIB**3 * 1000),
        ("5Ti", 5 * KIB**4, 5 * KIB**4 * 1000),
        ("4Pi", 4 * KIB**5, 4 * KIB**5 * 1000),
        ("3Ei", 3 * KIB**6, 3 * KIB**6 * 1000),
        ("0.5Mi", KIB**2 // 2, KIB**2 * 500),
        ("0.025Ti", 27487790695, 27487790694400),
        ("128974848", 128974848, 128974848000),
        ("125952Ki", 128974848, 128974848000),
        ("123Mi", 128974848, 128974848000),
    ],
)
def test_both_levels(text, value, milli):
    for strict in (False, True):
        quantity = Quantity.parse(text, strict)
        assert (quantity.value, quantity.milli) == (value, milli)
        assert quantity.text == text


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("5n", 5),
        ("4u", 4000),
        ("1e3", 10**12),
        ("1E3", 10**12),
        ("1E-3", 10**6),
        ("1.3E+6", 13 * 10**14),
        ("0.5e-2", 5 * 10**6),
        (".5", 5 * 10**8),
        (".001", 10**6),
        ("1.", 10**9),
        ("1.G", 10**18),
        (".", 0),
        ("+1", 10**9),
        ("-1", -(10**9)),
        ("-1.5Gi", -1536 * KIB**2 * 10**9),
        (" 2 ", 2 * 10**9),
        ("00012", 12 * 10**9),
    ],
)
def test_oddities_only_the_go_tools_accept(text, nano):
    assert Quantity.parse(text).nano == nano
    if not text.startswith("0"):
        with pytest.raises(InvalidValue):
            Quantity.parse(text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "+",
        "m",
        "Gi",
        "ki",
        "KI",
        "MB",
        "1e",
        "1i",
        "1Mi3",
        "1m3",
        "1.2.3",
        "..",
        "1 G",
        "1,5",
        "0x10",
        "aoeu",
        "1e1.5",
        "1eE3",
        "1e--3",
        "--1",
        "1_000",
        "١",
        "1Ki ~",
        "such garbage",
        "1\x1b[3m\n",
        "1" * 200,
        "1e1000",
        "1e-1000",
        "1e" + "9" * 100,
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_not_quantities(text, strict):
    with pytest.raises(InvalidValue) as caught:
        Quantity.parse(text, strict)
    assert "is not a quantity" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0.0000000001", 1),
        ("0.9n", 1),
        ("3.001n", 4),
        ("1.1E-9", 2),
        ("0.00000012345", 124),
        ("0.000000000001Ki", 2),
        ("-0.0000000001", -1),
        ("9Ei", MAX_BINARY * 10**9),
        ("9223372036854775807Ki", MAX_BINARY * 10**9),
        ("-9Ei", -MAX_BINARY * 10**9),
        ("12E", 12 * 10**27),
    ],
)
def test_too_fine_is_rounded_away_from_zero_and_binary_is_capped(text, nano):
    assert Quantity.parse(text).nano == nano


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0Gi", "0"),
        ("1.5", "1500m"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("512", "512"),
        ("1000", "1k"),
        ("1000k", "1M"),
        ("1K", "1k"),
        ("1e3", "1e3"),
        ("1500e-3", "1500e-3"),
        ("1e0", "1"),
        ("0.5Ki", "512"),
        ("100.035Ki", "102435840m"),
        ("0.000000000001Ki", "2n"),
        ("-1.5k", "-1500"),
        ("1000E", "1000E"),
        ("+5", "5"),
    ],
)
def test_canonical_form(text, canonical):
    quantity = Quantity.parse(text)
    assert str(quantity) == canonical
    assert Quantity.parse(canonical) == quantity


def test_order_and_equality_are_by_amount():
    assert Quantity.parse("1Gi") == Quantity.parse("1024Mi")
    assert hash(Quantity.parse("1k")) == hash(Quantity.parse("1e3"))
    assert Quantity.parse("50m") < Quantity.parse("100m") <= Quantity.parse("0.1")
    assert Quantity.parse("10000T") > Quantity.parse("100Gi")
    assert Quantity.parse("1") != "1"
    assert Quantity.of(1048576).text == "1048576"
    with pytest.raises(AttributeError):
        Quantity.of(1).nano = 2  # type: ignore[misc]


@given(
    st.decimals(min_value=0, max_value=10**12, places=6, allow_nan=False, allow_infinity=False),
    st.sampled_from(["n", "u", "m", "", "k", "K", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "E-2"]),
)
def test_reading_agrees_with_exact_arithmetic(number, suffix):
    import math
    from fractions import Fraction

    units = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": 1, "k": 1000, "K": 1000}
    units |= {"M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "e3": 1000}
    units |= {"E-2": Fraction(1, 100)}
    exact = Fraction(number) * units[suffix]
    if "i" in suffix:
        exact = min(exact, Fraction(MAX_BINARY))
    quantity = Quantity.parse(f"{number:f}{suffix}")
    assert quantity.nano == math.ceil(exact * 10**9)
    assert quantity.value == math.ceil(Fraction(quantity.nano, 10**9))
    assert Quantity.parse(str(quantity)) == quantity
    assert Quantity.parse("-" + quantity.text).value == -quantity.value


@given(st.text(alphabet="0123456789.eEinumkKMGTP+- ", max_size=10))
def test_any_text_is_a_quantity_or_refused_and_strict_is_narrower(text):
    try:
        quantity = Quantity.parse(text)
    except InvalidValue:
        quantity = None
    try:
        strict = Quantity.parse(text, strict=True)
    except InvalidValue:
        return
    assert strict == quantity
