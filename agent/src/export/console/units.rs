//! Times, durations and sizes as a person reads them.

/// Time of day in UTC.
pub(super) fn clock(unix_ns: u64) -> String {
    let ms = unix_ns / 1_000_000;
    let seconds = ms / 1_000;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60, ms % 1_000)
}

/// At most nine columns: `850 ns`, `45.0 µs`, `1.32 ms`, `2.50 s`, `3m 20s`.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns, 1_000, "µs"),
        1_000_000..1_000_000_000 => scaled(ns, 1_000_000, "ms"),
        1_000_000_000..100_000_000_000 => scaled(ns, 1_000_000_000, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            if seconds < 6_000 {
                format!("{}m {}s", seconds / 60, seconds % 60)
            } else {
                format!("{}h {}m", seconds / 3_600, seconds / 60 % 60)
            }
        }
    }
}

/// At most nine columns, in binary units.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let bytes = u64::try_from(bytes).unwrap_or(0);
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => scaled(bytes, *unit, name),
        None => format!("{bytes} B"),
    }
}

/// Three digits that matter, cut rather than rounded, so that 999.9 stays three digits.
fn scaled(value: u64, unit: u64, name: &str) -> String {
    let hundredths = u128::from(value) * 100 / u128::from(unit);
    let whole = hundredths / 100;
    match whole {
        0..10 => format!("{whole}.{:02} {name}", hundredths % 100),
        10..100 => format!("{whole}.{} {name}", hundredths % 100 / 10),
        _ => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_that_matter() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (45_600, "45.6 µs"),
            (999_999, "999 µs"),
            (1_320_000, "1.32 ms"),
            (2_500_000_000, "2.50 s"),
            (200_000_000_000, "3m 20s"),
            (7_260_000_000_000, "2h 1m"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
        }
        assert!(duration(u64::MAX).ends_with('m'));
    }

    #[test]
    fn sizes_are_in_binary_units() {
        let cases =
            [(-1, "0 B"), (612, "612 B"), (1_024, "1.00 KiB"), (1_047_552, "1023 KiB"), (i64::MAX, "8388607 TiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(clock(crate::export::fixture::START_UNIX_NS + 7_000_000), "22:13:20.007");
    }
}
