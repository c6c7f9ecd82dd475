//! Numbers as PostgreSQL prints them, compared digit by digit: a float cannot tell 9007199254740993 from its neighbour.

use std::cmp::Ordering;
use std::str::FromStr;

/// A number without a limit on its digits. Nothing is known of how `NaN` compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decimal {
    NotANumber,
    Infinite {
        is_negative: bool,
    },
    /// `0.DIGITS` times ten to the power; no zero first or last, and no digits at all of zero.
    Finite {
        is_negative: bool,
        digits: String,
        power: i64,
    },
}

impl FromStr for Decimal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a number");
        let text = text.trim();
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        match unsigned.to_ascii_lowercase().as_str() {
            "nan" => return Ok(Decimal::NotANumber),
            "infinity" | "inf" => return Ok(Decimal::Infinite { is_negative }),
            _ => {}
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let significant = all.trim_start_matches('0');
        let leading = i64::try_from(all.len() - significant.len()).map_err(|_| wrong())?;
        let digits = significant.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Ok(Decimal::Finite { is_negative: false, digits, power: 0 });
        }
        let whole = i64::try_from(whole.len()).map_err(|_| wrong())?;
        Ok(Decimal::Finite { is_negative, digits, power: whole - leading + i64::from(exponent) })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        /// What orders numbers of one sign; the sign itself orders the others.
        fn key(number: &Decimal) -> Option<(i8, i64, &str)> {
            let sign = |is_negative: bool| if is_negative { -1 } else { 1 };
            match number {
                Decimal::NotANumber => None,
                Decimal::Infinite { is_negative } => Some((sign(*is_negative), i64::MAX, "")),
                Decimal::Finite { digits, .. } if digits.is_empty() => Some((0, 0, "")),
                Decimal::Finite { is_negative, digits, power } => Some((sign(*is_negative), *power, digits)),
            }
        }
        let ((left, left_size, left_digits), (right, right_size, right_digits)) = (key(self)?, key(other)?);
        let sizes = (left_size, left_digits).cmp(&(right_size, right_digits));
        Some(left.cmp(&right).then(if left < 0 { sizes.reverse() } else { sizes }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compared(left: &str, right: &str) -> Option<Ordering> {
        left.parse::<Decimal>().unwrap().partial_cmp(&right.parse().unwrap())
    }

    #[test]
    fn numbers_are_compared_as_postgresql_prints_them() {
        for (left, right, order) in [
            ("9007199254740992", "9007199254740993", Ordering::Less),
            ("0.1", "0.10", Ordering::Equal),
            ("-0", "0.000", Ordering::Equal),
            ("-2", "-10", Ordering::Greater),
            ("1e3", "1000", Ordering::Equal),
            ("1.5E-7", "0.00000015", Ordering::Equal),
            ("0.30000000000000004", "0.3", Ordering::Greater),
            ("123456789012345678901234567890.1", "123456789012345678901234567890.09", Ordering::Greater),
            ("Infinity", "1e2000000000", Ordering::Greater),
            ("-Infinity", "-1e2000000000", Ordering::Less),
            (" 5 ", "+5", Ordering::Equal),
        ] {
            assert_eq!(compared(left, right), Some(order), "{left} {right}");
            assert_eq!(compared(right, left), Some(order.reverse()), "{right} {left}");
        }
        assert_eq!(compared("NaN", "NaN"), None);
        for wrong in ["", "-", "1.2.3", "1e", "e5", "0x10", "1,000", "--1", "."] {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn integers_and_fractions_are_ordered_as_such(left: i128, right: i128, scale in 0_usize..20) {
            prop_assert_eq!(compared(&left.to_string(), &right.to_string()), Some(left.cmp(&right)));
            let shifted = |number: i128| format!("{number}e-{scale}");
            prop_assert_eq!(compared(&shifted(left), &shifted(right)), Some(left.cmp(&right)));
        }
    }
}
