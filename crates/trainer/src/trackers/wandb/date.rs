//! The date of a second, for names of folders.

const DAY: u64 = 24 * 60 * 60;

/// A time in seconds since 1970 as `YYYYMMDD_HHMMSS`, in UTC.
pub(super) fn date_time(seconds: u64) -> String {
    let (mut day, second) = (seconds / DAY, seconds % DAY);
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}{month:02}{:02}_{:02}{:02}{:02}", day + 1, second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101_000000"),
            (951_782_399, "20000228_235959"),
            (951_782_400, "20000229_000000"),
            (951_868_800, "20000301_000000"),
            (1_609_459_199, "20201231_235959"),
            (1_609_459_200, "20210101_000000"),
            (4_107_542_400, "21000301_000000"),
        ] {
            assert_eq!(date_time(seconds), expected);
        }
    }
}
