//! What a machine finds after a loss of power: what was made durable, and of everything newer what chance leaves.
//!
//! - A name that is new in a folder since it was last synced is there or not; one that was removed is gone or back; one
//!   that was renamed is there under the old name or the new one. A new name takes the place of an old file of that
//!   name, or does not.
//! - A file has the content that was last synced, or what it has now, or, where it was only appended to, a part of it.
//! - One that was never synced has what it has now, a part of it, or nothing.
//!
//! How likely newer things are there is drawn first, so that there are losses of nearly nothing and of nearly all.
//! A move from one folder to another counts as a removal and a new name, so that neither may be there.

use std::collections::BTreeSet;

use super::{
    disk::{Disk, Entry, Key, Listing},
    draws::Draws,
};

/// What is found, given what is durable and what there was at the end.
pub(super) fn rebuild(durable: &Disk, now: &Disk, draws: &mut Draws) -> Disk {
    let likely = draws.part();
    let mut loss = Loss { durable, now, draws, likely, found: Disk::default() };
    loss.folder(&now.root, String::new());
    loss.found
}

struct Loss<'a> {
    durable: &'a Disk,
    now: &'a Disk,
    draws: &'a mut Draws,
    /// How likely a change is there that nobody has synced.
    likely: f64,
    /// Known by paths: a folder that is back may have what is elsewhere by now.
    found: Disk,
}

impl Loss<'_> {
    /// Decides what a folder has, which is found at this path.
    fn folder(&mut self, key: &Key, path: String) {
        let none = Listing::new();
        let [durable, now] = [self.durable, self.now].map(|disk| disk.folders.get(key).unwrap_or(&none));
        let mut listing = self.names(durable, now);
        for (name, Entry { is_folder, key }) in &mut listing {
            let path = format!("{path}/{name}");
            match is_folder {
                true => self.folder(key, path.clone()),
                false => {
                    let content = self.content(key);
                    self.found.files.insert(path.clone(), content);
                }
            }
            *key = path;
        }
        self.found.folders.insert(path, listing);
    }

    fn is_there(&mut self) -> bool {
        self.draws.coin(self.likely)
    }

    fn names(&mut self, durable: &Listing, now: &Listing) -> Listing {
        let new_name = |key: &Key| now.iter().find(|(_, entry)| entry.key == *key).map(|(name, _)| name);
        let moves: Vec<(&String, &String)> = durable
            .iter()
            .filter_map(|(name, entry)| Some((name, new_name(&entry.key)?)))
            .filter(|(old, new)| old != new)
            .collect();
        let mut done: BTreeSet<usize> = (0..moves.len()).filter(|_| self.is_there()).collect();
        // A name is not taken by another while what has it is still there, as both were done in this order.
        while let Some(first) = (0..moves.len()).find(|first| {
            !done.contains(first) && done.iter().any(|&later| later != *first && moves[later].1 == moves[*first].0)
        }) {
            done.insert(first);
        }
        let mut found = durable.clone();
        let moved: Vec<_> =
            done.iter().filter_map(|&index| Some((moves[index].1, found.remove(moves[index].0)?))).collect();
        found.extend(moved.into_iter().map(|(name, entry)| (name.clone(), entry)));

        let is_old = |key: &Key| durable.values().any(|entry| entry.key == *key);
        for (name, entry) in now.iter().filter(|(_, entry)| !is_old(&entry.key)) {
            let is_taken = moves.iter().enumerate().any(|(index, (old, _))| *old == name && !done.contains(&index));
            if !is_taken && self.is_there() {
                found.insert(name.clone(), entry.clone());
            }
        }
        for (name, entry) in durable {
            let is_removed = !now.contains_key(name) && new_name(&entry.key).is_none();
            if is_removed && found.get(name) == Some(entry) && self.is_there() {
                found.remove(name);
            }
        }
        found
    }

    fn content(&mut self, key: &Key) -> Vec<u8> {
        let durable = self.durable.files.get(key).map(Vec::as_slice);
        let now = self.now.files.get(key).map(Vec::as_slice);
        let Some(now) = now.filter(|now| Some(*now) != durable) else {
            // Removed since: if it is back, then as it was synced.
            return durable.unwrap_or_default().to_vec();
        };
        if self.is_there() {
            return now.to_vec();
        }
        let kept = durable.unwrap_or_default();
        match now.starts_with(kept) && self.draws.coin(0.5) {
            true => now[..kept.len() + self.draws.below(now.len() - kept.len() + 1)].to_vec(),
            false => kept.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder whose files are `name key content`.
    fn disk(files: &[(&str, &str, &str)]) -> Disk {
        let entry = |key: &str| Entry { is_folder: false, key: key.into() };
        let listing: Listing = files.iter().map(|(name, key, _)| (name.to_string(), entry(key))).collect();
        Disk {
            root: "root".into(),
            folders: [("root".into(), listing)].into(),
            files: files.iter().map(|(_, key, content)| (key.to_string(), content.as_bytes().to_vec())).collect(),
        }
    }

    /// All that is found in many losses, each as `name=content ...`.
    fn found(durable: &Disk, now: &Disk) -> BTreeSet<String> {
        let loss = |number: usize| {
            let disk = rebuild(durable, now, &mut Draws::new(1, number));
            let files = disk.below(&disk.root).into_iter();
            let files = files.map(|(name, bytes)| format!("{name}={}", String::from_utf8_lossy(bytes)));
            files.collect::<Vec<_>>().join(" ")
        };
        (0..300).map(loss).collect()
    }

    fn expected<'a>(found: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        found.into_iter().map(String::from).collect()
    }

    #[test]
    fn what_is_durable_stays_and_what_is_not_may_go() {
        let durable = disk(&[("a", "1", "one")]);
        assert_eq!(found(&durable, &durable), expected(["a=one"]));
        let appended = disk(&[("a", "1", "one23")]);
        assert_eq!(found(&durable, &appended), expected(["a=one", "a=one2", "a=one23"]));
        assert_eq!(found(&durable, &disk(&[("a", "1", "xy")])), expected(["a=one", "a=xy"]));
        // Never synced, and neither is its name.
        let new = disk(&[("a", "1", "one"), ("b", "2", "n")]);
        assert_eq!(found(&durable, &new), expected(["a=one", "a=one b=", "a=one b=n"]));
        assert_eq!(found(&durable, &disk(&[])), expected(["", "a=one"]));
        // Its name was synced, its content never.
        let mut named = new.clone();
        named.files.remove("2");
        assert_eq!(found(&named, &disk(&[("a", "1", "one")])), expected(["a=one", "a=one b="]));
    }

    #[test]
    fn a_renamed_file_is_there_once() {
        let durable = disk(&[("new", "1", "one")]);
        assert_eq!(found(&durable, &disk(&[("a", "1", "one")])), expected(["new=one", "a=one"]));
        // In the place of another.
        let durable = disk(&[("a", "0", "old"), ("new", "1", "one")]);
        assert_eq!(found(&durable, &disk(&[("a", "1", "one")])), expected(["a=old new=one", "a=one"]));
        // The other first, to a third name: in this order or not at all.
        let now = disk(&[("a", "1", "one"), ("old", "0", "old")]);
        let all = expected(["a=old new=one", "new=one old=old", "a=one old=old"]);
        assert_eq!(found(&durable, &now), all);
        // And a further one under the name that became free.
        let now = disk(&[("a", "1", "one"), ("new", "2", "")]);
        assert_eq!(found(&durable, &now), expected(["a=old new=one", "a=one", "a=one new="]));
        // One that was written beside and renamed before anybody synced the folder.
        let durable = disk(&[("a", "0", "old")]);
        let mut synced = durable.clone();
        synced.files.insert("1".into(), b"one".to_vec());
        assert_eq!(found(&synced, &disk(&[("a", "1", "one")])), expected(["a=old", "a=one"]));
    }

    #[test]
    fn folders_are_lost_with_all_that_is_in_them() {
        let folder = |key: &str| Entry { is_folder: true, key: key.into() };
        let mut now = disk(&[("a", "1", "one")]);
        now.folders.get_mut("root").unwrap().insert("inner".into(), folder("2"));
        now.folders.insert("2".into(), disk(&[("b", "3", "")]).folders["root"].clone());
        let durable = disk(&[("a", "1", "one")]);
        assert_eq!(found(&durable, &now), expected(["a=one", "a=one inner/b="]));
        let mut synced = durable.clone();
        synced.folders.insert("root".into(), now.folders["root"].clone());
        synced.folders.insert("2".into(), now.folders["2"].clone());
        assert_eq!(found(&synced, &now), expected(["a=one inner/b="]));
    }
}
