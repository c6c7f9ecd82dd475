//! The size of an instance class, as far as it follows from the class's name: `db.m6g.2xlarge`.

pub(crate) const GIBIBYTE: f64 = 1_073_741_824.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassSize {
    pub(crate) memory_bytes: f64,
    pub(crate) processors: f64,
}

pub(crate) fn class_size(class: &str) -> ClassSize {
    let (family, size) = class.trim_start_matches("db.").split_once('.').unwrap_or_default();
    let gibibytes_per_processor = if family.starts_with(['r', 'x']) { 8.0 } else { 4.0 };
    let (gibibytes, processors) = match size {
        "micro" => (1.0, 2.0),
        "small" => (2.0, 2.0),
        "medium" => (4.0, 2.0),
        _ => {
            let processors = match size.strip_suffix("xlarge") {
                Some("") => 4.0,
                Some(number) => number.parse::<f64>().unwrap_or(1.0) * 4.0,
                None => 2.0,
            };
            (processors * gibibytes_per_processor, processors)
        }
    };
    ClassSize { memory_bytes: gibibytes * GIBIBYTE, processors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_memory_and_processors() {
        for (class, gibibytes, processors) in [
            ("db.t3.micro", 1.0, 2.0),
            ("db.m6g.large", 8.0, 2.0),
            ("db.m6g.xlarge", 16.0, 4.0),
            ("db.r6g.4xlarge", 128.0, 16.0),
        ] {
            let size = ClassSize { memory_bytes: gibibytes * GIBIBYTE, processors };
            assert_eq!(class_size(class), size, "{class}");
        }
    }
}
