//! Formulas that stand for a parameter's value: `{DBInstanceClassMemory/9531392}`, `LEAST({…},5000)` (Amazon RDS User
//! Guide, "Specifying DB parameters").

use crate::instance_class::{GIBIBYTE, class_size};
use crate::resources::Instance;

/// What a formula can refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variables {
    pub(crate) memory_bytes: f64,
    pub(crate) processors: f64,
    pub(crate) storage_bytes: f64,
    pub(crate) port: f64,
}

impl Variables {
    pub(crate) fn of_instance(instance: &Instance) -> Self {
        let size = class_size(&instance.settings.class);
        Self {
            memory_bytes: size.memory_bytes,
            processors: size.processors,
            storage_bytes: instance.settings.allocated_storage as f64 * GIBIBYTE,
            port: f64::from(instance.settings.asked_port),
        }
    }
}

/// Whether a value is a formula, valid or not, rather than a plain value.
pub(crate) fn is_formula(text: &str) -> bool {
    text.contains('{') || text.contains('(')
}

/// The value of a formula as a whole number; `None` if it is not a valid formula.
pub(crate) fn evaluate_formula(text: &str, variables: &Variables) -> Option<i64> {
    let mut parser = Parser { text: text.trim(), variables };
    let value = parser.parse_value()?;
    let is_complete = parser.text.is_empty() && value.is_finite();
    is_complete.then_some(value.floor() as i64)
}

/// The rest of a formula that has not been parsed yet.
struct Parser<'t> {
    text: &'t str,
    variables: &'t Variables,
}

impl<'t> Parser<'t> {
    fn expect_token(&mut self, token: char) -> Option<()> {
        self.text = self.text.trim_start().strip_prefix(token)?.trim_start();
        Some(())
    }

    fn take_word(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let end = self.text.find(|c| !fits(c)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest.trim_start();
        word
    }

    /// A function of several values, an expression in braces, or a number.
    fn parse_value(&mut self) -> Option<f64> {
        if self.expect_token('{').is_some() {
            let value = self.parse_sum()?;
            self.expect_token('}')?;
            return Some(value);
        }
        if self.text.starts_with(|c: char| c.is_ascii_digit()) {
            return self.take_word(|c| c.is_ascii_digit()).parse().ok();
        }
        let function = self.take_word(|c| c.is_ascii_alphabetic());
        self.parse_function(function, Self::parse_value)
    }

    fn parse_function(&mut self, function: &str, value: fn(&mut Self) -> Option<f64>) -> Option<f64> {
        self.expect_token('(')?;
        let mut values = vec![value(self)?];
        while self.expect_token(',').is_some() {
            values.push(value(self)?);
        }
        self.expect_token(')')?;
        match (function.to_ascii_lowercase().as_str(), &values[..]) {
            ("least", [_, _, ..]) => values.into_iter().reduce(f64::min),
            ("greatest", [_, _, ..]) => values.into_iter().reduce(f64::max),
            ("sum", [_, _, ..]) => Some(values.iter().sum()),
            ("log", [value]) => Some(value.log2()),
            _ => None,
        }
    }

    fn parse_sum(&mut self) -> Option<f64> {
        let mut value = self.parse_product()?;
        loop {
            if self.expect_token('+').is_some() {
                value += self.parse_product()?;
            } else if self.expect_token('-').is_some() {
                value -= self.parse_product()?;
            } else {
                return Some(value);
            }
        }
    }

    fn parse_product(&mut self) -> Option<f64> {
        let mut value = self.parse_operand()?;
        loop {
            if self.expect_token('*').is_some() {
                value *= self.parse_operand()?;
            } else if self.expect_token('/').is_some() {
                value /= self.parse_operand()?;
            } else {
                return Some(value);
            }
        }
    }

    fn parse_operand(&mut self) -> Option<f64> {
        if self.text.starts_with(|c: char| c.is_ascii_digit()) {
            return self.take_word(|c| c.is_ascii_digit()).parse().ok();
        }
        let name = self.take_word(|c| c.is_ascii_alphabetic());
        Some(match name {
            "DBInstanceClassMemory" => self.variables.memory_bytes,
            "DBInstanceVCPU" => self.variables.processors,
            "AllocatedStorage" => self.variables.storage_bytes,
            "EndPointPort" => self.variables.port,
            function => return self.parse_function(function, Self::parse_sum),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<i64> {
        let variables =
            Variables { memory_bytes: 8.0 * GIBIBYTE, processors: 2.0, storage_bytes: 0.0, port: 5432.0 };
        evaluate_formula(text, &variables)
    }

    #[test]
    fn formulas_of_the_user_guide_have_their_values() {
        assert_eq!(value("{DBInstanceClassMemory/9531392}"), Some(901));
        assert_eq!(value("LEAST({DBInstanceClassMemory/9531392},5000)"), Some(901));
        assert_eq!(value("LEAST({DBInstanceClassMemory/9531392}, 500)"), Some(500));
        assert_eq!(value("GREATEST({DBInstanceClassMemory*1024/63963136},65536)"), Some(137_518));
        assert_eq!(value("greatest(1,2,3)"), Some(3));
        assert_eq!(value("SUM({DBInstanceClassMemory/8589934592},-1)"), None);
        assert_eq!(value("SUM({DBInstanceClassMemory/8589934592},10)"), Some(11));
        assert_eq!(value("{log(DBInstanceClassMemory/1073741824)*1000}"), Some(3000));
        assert_eq!(value("{EndPointPort}"), Some(5432));
        assert_eq!(value("GREATEST({DBInstanceVCPU/2}, 8)"), Some(8));
    }

    #[test]
    fn invalid_formulas_have_no_value() {
        for text in [
            "",
            "{",
            "{Memory}",
            "LEAST(5)",
            "LEAST(1,2",
            "LEAST(1,2) x",
            "{DBInstanceClassMemory/0}",
            "MAX(1,2)",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
