//! Tests of numbers. What is expected here is what redis-server 7.0 answers.

use super::{Extended, Parsed, parse, parse_double, print_double};

#[test]
fn an_integer_has_one_spelling() {
    for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
        assert_eq!(parse(text.as_bytes()), Some(number));
    }
    assert_eq!(parse(b"-9223372036854775808"), Some(i64::MIN));
    let wrong =
        ["", "-", "+1", "01", "-0", "1 ", " 1", "9223372036854775808", "1.0", "0x1", "\u{661}"];
    for text in wrong {
        assert_eq!(parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_double_is_printed_with_17_digits() {
    for (number, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-1.5, "-1.5"),
        (0.1, "0.10000000000000001"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (1e-4, "0.0001"),
        (1e-5, "1.0000000000000001e-05"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(print_double(number), text);
    }
}

#[test]
fn a_double_beyond_its_range_is_none() {
    for text in ["1e400", "-1e400", "1e-400", "nan", "-nan", "", " 1", "1 ", "1e", "e1", "."] {
        assert_eq!(parse_double(text.as_bytes()), None, "{text:?}");
    }
    for text in ["inf", "-inf", "+Infinity", "0e400", "-0", "1.", ".5", "+1", "1E5", "007"] {
        assert!(parse_double(text.as_bytes()).is_some(), "{text:?}");
    }
}

#[test]
fn sums_have_64_bits_of_mantissa() {
    for (one, other, sum) in [
        ("0.1", "0.2", "0.3"),
        ("3.0", "1.1", "4.1"),
        ("1", "-1", "0"),
        ("-0", "0", "0"),
        ("5.0e3", "2.0e2", "5200"),
        ("17179869184", "1.5", "17179869185.5"),
        ("1234.5678", "0", "1234.56779999999999997"),
        ("1e20", "1", "100000000000000000000"),
        ("1e30", "1", "1000000000000000000024696061952"),
        ("1e-20", "0", "0"),
        ("5e-18", "0", "0"),
        ("1e-17", "0", "0.00000000000000001"),
        ("-1e-17", "0", "-0.00000000000000001"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("1e-4940", "1", "1"),
        ("-1e-4940", "1e-17", "0.00000000000000001"),
        ("000000.00", "-0.0e5", "0"),
        (&("0.1".to_string() + &"0".repeat(5000) + "1"), "0", "0.1"),
        (&("1".to_string() + &"0".repeat(30)), "1", "1000000000000000000024696061952"),
        (&("0.".to_string() + &"3".repeat(5000)), "0", "0.33333333333333333"),
        (
            &("18446744073709551616.".to_string() + &"0".repeat(300) + "1"),
            "1",
            "18446744073709551616",
        ),
        ("99999.999999999", "0.000000000001", "99999.99999999900100534"),
        ("1e-18", "9e-18", "0.00000000000000001"),
    ] {
        let [Some(Parsed::Finite(one)), Some(Parsed::Finite(other))] =
            [one, other].map(|text| Extended::parse(text.as_bytes()))
        else {
            panic!("{one} and {other} are numbers")
        };
        assert_eq!(one.plus(other).map(Extended::print).as_deref(), Some(sum));
    }
}

#[test]
fn a_sum_beyond_the_range_is_none() {
    let Some(Parsed::Finite(huge)) = Extended::parse(b"1e4932") else {
        panic!("it is in the range")
    };
    assert_eq!(huge.plus(huge), None);
    assert_eq!(Extended::parse(b"1e4933"), None);
    assert_eq!(Extended::parse(b"1e-4951"), None);
    assert!(Extended::parse(b"1e-4950").is_some());
    assert_eq!(Extended::parse(b"1e999999999999"), None);
    assert_eq!(Extended::parse(b"+inf"), Some(Parsed::Infinite));
    for text in ["", ".", "1e", "1e+", "nan", " 1", "1 ", "1..2", "-"] {
        assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
    }
}
