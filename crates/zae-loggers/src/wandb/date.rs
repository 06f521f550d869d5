//! Dates, UTC.

/// `YYYYMMDD_HHMMSS`.
pub(super) fn compact(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(seconds);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

/// `YYYY-MM-DDTHH:MM:SS.ffffff`.
pub(super) fn iso(seconds: f64) -> String {
    let micros = (seconds * 1e6) as u64;
    let [year, month, day, hour, minute, second] = parts(micros / 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}", micros % 1_000_000)
}

/// Year to second. From days to a date as in Howard Hinnant's `civil_from_days`.
fn parts(seconds: u64) -> [i64; 6] {
    let (days, time) = ((seconds / 86_400) as i64 + 719_468, (seconds % 86_400) as i64);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    [year, month, day, time / 3600, time / 60 % 60, time % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(compact(0), "19700101_000000");
        assert_eq!(compact(951_782_399), "20000228_235959");
        assert_eq!(compact(951_782_400), "20000229_000000");
        assert_eq!(compact(1_796_083_445), "20261201_000405");
        assert_eq!(iso(1_796_083_445.25), "2026-12-01T00:04:05.250000");
    }
}
