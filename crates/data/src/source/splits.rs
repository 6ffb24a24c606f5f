//! Splits by the names of files, where a README says nothing of them. Only the files that hold rows are asked: pictures
//! may be called anything.

use super::card::TRAIN;

/// The splits that names tell of, and the words for them; of those to measure on, the first that is there is taken.
const KEYWORDS: [(&str, &[&str]); 3] = [
    (TRAIN, &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
/// Shorter words that a name may begin with, for the splits in the same order.
const BEGINNINGS: [&[&str]; 3] = [&["train"], &["val", "dev"], &["test", "eval"]];
/// What stands between words of a name.
const SEPARATORS: &[char] = &['-', '.', '_', ' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// A split and its files.
pub(super) type Split<'a> = (String, Vec<&'a str>);

/// The splits of files with rows, by the first rule that finds any: `data/SPLIT-00000-of-00001*`; folders named by a
/// split; files named by a split; names that begin as those of two splits. All files are for training where no rule
/// says more, or no split is called `train`.
///
/// # Errors
/// Shards of splits, and none to train on; names the splits.
pub(super) fn by_name<'a>(files: &[&'a str]) -> Result<Vec<Split<'a>>, String> {
    let mut sharded: Vec<Split<'a>> = Vec::new();
    for &file in files {
        if let Some(split) = sharded_split(file) {
            match sharded.iter_mut().find(|(name, _)| name == split) {
                Some((_, files)) => files.push(file),
                None => sharded.push((split.into(), vec![file])),
            }
        }
    }
    if !sharded.is_empty() {
        let names: Vec<&str> = sharded.iter().map(|(name, _)| name.as_str()).collect();
        if !names.contains(&TRAIN) {
            return Err(format!("has no split `{TRAIN}`, its splits are: {}", names.join(", ")));
        }
        return Ok(sharded);
    }
    let folders = |file: &str| file.rsplit_once('/').map_or(String::new(), |(folders, _)| folders.into());
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_string();
    let in_folder = |file: &str, words: &[&str]| folders(file).split('/').any(|part| has_word(part, words, true));
    let in_name = |file: &str, words: &[&str]| has_word(&name(file), words, false);
    let begins =
        |file: &str, words: &[&str]| file.split('/').any(|part| words.iter().any(|word| part.starts_with(word)));
    let long = KEYWORDS.map(|(_, words)| words);
    let has_train = |splits: &Vec<Split<'a>>| splits.iter().any(|(name, _)| name == TRAIN);
    let found = [group(files, long, in_folder), group(files, long, in_name)].into_iter().find(has_train);
    // `trainset` alone is a name like any other; beside a `valset` it is not.
    let run_together = || Some(group(files, BEGINNINGS, begins)).filter(|splits| has_train(splits) && splits.len() > 1);
    let found = found.or_else(run_together);
    Ok(found.unwrap_or_else(|| vec![(TRAIN.into(), files.to_vec())]))
}

/// The split to measure on: a validation split, else a test split; without files that are trained on.
pub(super) fn held_out<T>(splits: &[(String, T)]) -> Option<&(String, T)> {
    let called = |beginnings: &[&str]| {
        splits.iter().find(|(name, _)| name != TRAIN && beginnings.iter().any(|word| name.starts_with(word)))
    };
    BEGINNINGS[1..].iter().find_map(|beginnings| called(beginnings))
}

fn group<'a>(files: &[&'a str], words: [&[&str]; 3], is_in: impl Fn(&str, &[&str]) -> bool) -> Vec<Split<'a>> {
    let of = |index: usize| files.iter().copied().filter(|file| is_in(file, words[index])).collect();
    let splits = KEYWORDS.iter().enumerate().map(|(index, (name, _))| (name.to_string(), of(index)));
    splits.filter(|(_, files): &Split<'a>| !files.is_empty()).collect()
}

/// Whether one of the words is in a name, by itself: a file's name goes on behind it, a folder's may end.
fn has_word(name: &str, words: &[&str], may_end: bool) -> bool {
    let found = |word: &str| {
        name.match_indices(word).any(|(at, _)| {
            let (before, after) = (&name[..at], &name[at + word.len()..]);
            let begins = before.is_empty() || before.ends_with(SEPARATORS);
            begins && (after.starts_with(SEPARATORS) || may_end && after.is_empty())
        })
    };
    words.iter().any(|word| found(word))
}

/// The split in `data/SPLIT-00000-of-00001*.*`.
fn sharded_split(file: &str) -> Option<&str> {
    let name = file.strip_prefix("data/").filter(|name| !name.contains('/'))?;
    shard_of(name).map(|(split, ..)| split)
}

/// Of `PREFIX-00000-of-00001*.*`: what is before the numbers, the shard's number from 0, and how many there are.
pub(super) fn shard_of(file: &str) -> Option<(&str, usize, usize)> {
    let number = |text: &str| text.parse().ok().filter(|_| text.len() == 5 && text.bytes().all(|c| c.is_ascii_digit()));
    file.match_indices("-of-").find_map(|(at, middle)| {
        let (before, after) = (&file[..at], &file[at + middle.len()..]);
        let (prefix, shard) = before.rsplit_once('-')?;
        let (index, count) = (number(shard)?, number(after.get(..5)?)?);
        (after[5..].contains('.') && !prefix.is_empty()).then_some((prefix, index, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(files: &[&str]) -> Vec<(String, usize)> {
        by_name(files).unwrap().into_iter().map(|(name, files)| (name, files.len())).collect()
    }

    #[test]
    fn the_first_rule_that_finds_a_split_counts() {
        for (files, expected) in [
            // Shards, whatever else is there; splits of any name.
            (
                &[
                    "data/train-00000-of-00002.parquet",
                    "data/train-00001-of-00002-ab12.parquet",
                    "data/extra-00000-of-00001.parquet",
                    "test/x.parquet",
                ][..],
                &[("train", 2), ("extra", 1)][..],
            ),
            // Folders before names.
            (&["train/a.parquet", "train/test-1.parquet", "x/my-test_set/b.parquet"], &[("train", 2), ("test", 1)]),
            (&["a/train-1.parquet", "train.parquet", "my_valid.parquet"], &[("train", 2), ("validation", 1)]),
            (
                &["set.train.parquet", "set.dev.parquet", "set.eval.parquet"],
                &[("train", 1), ("validation", 1), ("test", 1)],
            ),
            // Only part of a word, or no split to train on: all are trained on.
            (&["strain.parquet", "contest.parquet"], &[("train", 2)]),
            (&["test/a.parquet", "b.parquet"], &[("train", 2)]),
            // Words that are run together.
            (&["trainset.parquet", "valset.parquet", "other.parquet"], &[("train", 1), ("validation", 1)]),
            (&["trainset.parquet", "other.parquet"], &[("train", 2)]),
            // Too few digits for shards.
            (&["data/train-0000-of-0001.parquet", "data/other.parquet"], &[("train", 1)]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(name, count)| (name.to_string(), *count)).collect();
            assert_eq!(splits(files), expected, "{files:?}");
        }
        let error = by_name(&["data/test-00000-of-00001.parquet"]).unwrap_err();
        assert_eq!(error, "has no split `train`, its splits are: test");
    }

    #[test]
    fn validation_is_measured_on_before_test() {
        let held_out = |names: &[&str]| {
            let splits: Vec<_> = names.iter().map(|name| (name.to_string(), ())).collect();
            held_out(&splits).map(|(name, ())| name.clone())
        };
        assert_eq!(held_out(&["train", "test", "validation"]).unwrap(), "validation");
        assert_eq!(held_out(&["train", "test_easy", "extra"]).unwrap(), "test_easy");
        assert_eq!(held_out(&["train", "extra"]), None);
    }
}
