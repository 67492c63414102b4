//! Floats of 64 bits of mantissa, as C's `long double` has them on the machines that Redis runs on.
//!
//! `INCRBYFLOAT` and `HINCRBYFLOAT` reckon with these, so that 0.1 and 0.2 make 0.3, and every sum
//! has exactly the text that Redis gives it. Only what the two commands need is here: read, add,
//! print with 17 decimals.

use std::cmp::Ordering;

/// A float: its mantissa times 2 to its exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extended {
    is_negative: bool,
    /// With its highest bit set, or 0.
    mantissa: u64,
    exponent: i32,
}

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A number.
    Finite(Extended),
    /// `inf`, with either sign.
    Infinite,
}

impl Default for Parsed {
    fn default() -> Self {
        Parsed::Finite(Extended::default())
    }
}

/// As many bytes as Redis reads of a number.
const TEXT_MAX: usize = 5 * 1024;
/// 2 to this is beyond the range.
const EXPONENT_MAX: i32 = 16384;
/// As many digits as a number that is printed can need, and more.
const DIGITS: usize = 200;

impl Extended {
    /// Reads a decimal number. `None`: it is none, or beyond the range.
    pub fn parse(text: &[u8]) -> Option<Parsed> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] | rest => (false, rest),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Parsed::Infinite);
        }
        let (mut digits, mut exponent) = decimal(text)?;
        if digits.is_empty() {
            return Some(Parsed::Finite(Extended { is_negative, ..Extended::default() }));
        }
        // At least a tenth of 10 to this, and below it.
        let magnitude = i32::try_from(digits.len()).ok()? + exponent;
        if !(-4949..=4933).contains(&magnitude) {
            return None;
        }
        if magnitude < -60 {
            // Of a number so small no decimal is printed: which one it is makes no difference to any sum.
            let (mantissa, exponent) = (1 << 63, -300);
            return Some(Parsed::Finite(Extended { is_negative, mantissa, exponent }));
        }
        if digits.len() > DIGITS {
            // What is behind them only decides that it is not a tie.
            exponent += i32::try_from(digits.len() - DIGITS - 1).ok()?;
            let is_inexact = digits[DIGITS..].iter().any(|digit| *digit != 0);
            digits.truncate(DIGITS);
            digits.push(u8::from(is_inexact));
        }
        let number = if exponent >= 0 {
            Big::of_digits(&digits, exponent).round(0, false)
        } else {
            // So many bits that 66 are left when the powers of 10 are divided out.
            let powers = exponent.unsigned_abs();
            let mut big = Big::of_digits(&digits, 0);
            let shift = (powers * 10).div_ceil(3) + 66;
            big.shift_left(shift);
            let is_inexact = big.divide_by_power_of_ten(powers);
            big.round(-i32::try_from(shift).ok()?, is_inexact)
        };
        let number = Extended { is_negative, ..number };
        let top = number.exponent + 64;
        (top <= EXPONENT_MAX).then_some(Parsed::Finite(number))
    }

    /// Returns the sum; `None` is an infinite one.
    pub fn plus(self, other: Extended) -> Option<Extended> {
        let (large, small) = match (self.mantissa, other.mantissa) {
            (0, _) => (other, self),
            (_, 0) => (self, other),
            _ => {
                match self.exponent.cmp(&other.exponent).then(self.mantissa.cmp(&other.mantissa)) {
                    Ordering::Less => (other, self),
                    Ordering::Equal | Ordering::Greater => (self, other),
                }
            }
        };
        if small.mantissa == 0 {
            return Some(large);
        }
        // 62 bits below the larger one, and one above. What is shifted out below them only decides
        // a rounding.
        let distance = large.exponent.abs_diff(small.exponent);
        let wide = u128::from(large.mantissa) << 62;
        let other = u128::from(small.mantissa) << 62;
        let shifted = other.checked_shr(distance).unwrap_or(0);
        let is_inexact = shifted.checked_shl(distance).unwrap_or(0) != other;
        let sum = if large.is_negative == small.is_negative {
            wide + shifted
        } else {
            wide - shifted - u128::from(is_inexact)
        };
        let sum = round(sum, large.exponent - 62, is_inexact);
        let is_negative = large.is_negative && sum.mantissa != 0;
        (sum.exponent + 64 <= EXPONENT_MAX).then_some(Extended { is_negative, ..sum })
    }

    /// Prints it with 17 decimals and without the zeros that end them.
    pub fn print(self) -> String {
        const ONE: u128 = 10_u128.pow(17);
        let digits = if self.exponent >= 0 {
            let mut big = Big(vec![low(self.mantissa), low(self.mantissa >> 32)]);
            big.shift_left(self.exponent.unsigned_abs());
            big.print()
        } else {
            let scaled = u128::from(self.mantissa) * ONE;
            let shift = self.exponent.unsigned_abs();
            let whole = scaled.checked_shr(shift).unwrap_or(0);
            let rest = scaled - whole.checked_shl(shift).unwrap_or(0);
            // Half to even; a number so small that nothing of it is left is below one half.
            let half = 1_u128.checked_shl(shift - 1).unwrap_or(u128::MAX);
            let is_up = shift < 128 && (rest > half || rest == half && whole % 2 == 1);
            let whole = whole + u128::from(is_up);
            let text = format!("{}.{:017}", whole / ONE, whole % ONE);
            super::without_zeros(&text).to_string()
        };
        if self.is_negative && digits != "0" { format!("-{digits}") } else { digits }
    }
}

/// Returns the digits of a decimal number without the zeros before them, and the power of ten that
/// they are multiplied with.
fn decimal(text: &[u8]) -> Option<(Vec<u8>, i32)> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(place) => (&text[..place], power(&text[place + 1..])?),
        None => (text, 0),
    };
    let mut digits = Vec::with_capacity(mantissa.len());
    let mut decimals = None;
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b'.' if decimals.is_none() => decimals = Some(digits.len()),
            _ => return None,
        }
    }
    if digits.is_empty() {
        return None;
    }
    let count = digits.len();
    let exponent = exponent - i32::try_from(count - decimals.unwrap_or(count)).ok()?;
    digits.drain(..digits.iter().position(|digit| *digit != 0).unwrap_or(count));
    Some((digits, exponent))
}

fn power(text: &[u8]) -> Option<i32> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let power = digits.iter().fold(0_i32, |power, digit| {
        power.saturating_mul(10).saturating_add(i32::from(digit - b'0')).min(1_000_000)
    });
    Some(if text[0] == b'-' { -power } else { power })
}

/// Rounds half to even to 64 bits. `is_inexact`: the number is a little above `bits`.
fn round(bits: u128, exponent: i32, is_inexact: bool) -> Extended {
    if bits == 0 {
        return Extended::default();
    }
    let excess = 64 - i32::try_from(bits.leading_zeros()).expect("at most 128");
    if excess <= 0 {
        let mantissa = wide_low(bits << excess.unsigned_abs());
        return Extended { is_negative: false, mantissa, exponent: exponent + excess };
    }
    let mantissa = bits >> excess;
    let rest = bits - (mantissa << excess);
    let half = 1 << (excess - 1);
    let is_up = rest > half || rest == half && (is_inexact || mantissa % 2 == 1);
    let mantissa = mantissa + u128::from(is_up);
    if mantissa >> 64 != 0 {
        return Extended { is_negative: false, mantissa: 1 << 63, exponent: exponent + excess + 1 };
    }
    Extended { is_negative: false, mantissa: wide_low(mantissa), exponent: exponent + excess }
}

/// A large integer, its least part first.
struct Big(Vec<u32>);

impl Big {
    fn of_digits(digits: &[u8], zeros: i32) -> Big {
        let mut big = Big(Vec::new());
        for digit in digits {
            big.multiply_and_add(10, u32::from(*digit));
        }
        (0..zeros).for_each(|_| big.multiply_and_add(10, 0));
        big
    }

    fn multiply_and_add(&mut self, factor: u32, carry: u32) {
        let mut carry = u64::from(carry);
        for part in &mut self.0 {
            let product = u64::from(*part) * u64::from(factor) + carry;
            *part = low(product);
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(low(carry));
        }
    }

    fn shift_left(&mut self, bits: u32) {
        self.multiply_and_add(1 << (bits % 32), 0);
        let parts = usize::try_from(bits / 32).expect("a length");
        self.0.splice(0..0, std::iter::repeat_n(0, parts));
    }

    /// Returns the remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0_u64;
        for part in self.0.iter_mut().rev() {
            let dividend = rest << 32 | u64::from(*part);
            *part = low(dividend / u64::from(divisor));
            rest = dividend % u64::from(divisor);
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        low(rest)
    }

    /// Returns whether there was a remainder.
    fn divide_by_power_of_ten(&mut self, mut power: u32) -> bool {
        let mut is_inexact = false;
        while power > 0 {
            let step = power.min(9);
            is_inexact |= self.divide(10_u32.pow(step)) != 0;
            power -= step;
        }
        is_inexact
    }

    /// Rounds it to a float, multiplied with 2 to `exponent`.
    fn round(&self, exponent: i32, is_inexact: bool) -> Extended {
        let parts = &self.0;
        let kept = parts.len().min(4);
        let (rest, top) = parts.split_at(parts.len() - kept);
        let bits = top.iter().rev().fold(0_u128, |bits, part| bits << 32 | u128::from(*part));
        let is_inexact = is_inexact || rest.iter().any(|part| *part != 0);
        let shift = i32::try_from(rest.len() * 32).expect("texts are short");
        round(bits, exponent + shift, is_inexact)
    }

    fn print(mut self) -> String {
        let mut parts = Vec::new();
        while !self.0.is_empty() {
            parts.push(self.divide(1_000_000_000));
        }
        let Some(first) = parts.pop() else { return "0".into() };
        let rest = parts.iter().rev().map(|part| format!("{part:09}"));
        std::iter::once(first.to_string()).chain(rest).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are meant")]
fn low(number: u64) -> u32 {
    number as u32
}

#[expect(clippy::cast_possible_truncation, reason = "it has 64 bits")]
fn wide_low(number: u128) -> u64 {
    number as u64
}
