use std::{fs, thread};

use burn::tensor::TensorData;

use super::{Pack, PackKey, format::header_line};

fn key(name: &str) -> PackKey {
    PackKey::new(&[name.as_bytes()])
}

fn data<const D: usize>(values: &[f32], shape: [usize; D]) -> TensorData {
    TensorData::new(values.to_vec(), shape)
}

#[test]
fn what_a_cut_off_run_leaves_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (data(&[1.0, 2.0, 3.0, 4.0], [2, 2]), data(&[5.0], [1]));
    let pack = Pack::open(folder.path()).unwrap();
    pack.append(key("a"), &a).unwrap();
    pack.append(key("b"), &b).unwrap();
    drop(pack);
    let (values, index) = (folder.path().join("pack.bin"), folder.path().join("index.jsonl"));
    let whole = (fs::read(&values).unwrap(), fs::read(&index).unwrap());
    let header = header_line().len();

    // Cut both files wherever a run can be killed: the header is written before values, values before their line.
    for length in 0..=whole.1.len() {
        fs::write(&values, if length < header { &[] } else { &whole.0[..] }).unwrap();
        fs::write(&index, &whole.1[..length]).unwrap();
        let pack = Pack::open(folder.path()).unwrap();
        assert_eq!(fs::read(&index).unwrap(), whole.1[..length], "opening changes nothing");
        if pack.contains(&key("a")) {
            assert_eq!(pack.read(&key("a"), 2).unwrap(), a);
        }
        pack.append(key("a"), &a).unwrap();
        pack.append(key("b"), &b).unwrap();
        drop(pack);
        assert!((fs::read(&values).unwrap(), fs::read(&index).unwrap()) == whole, "{length}");
    }
}

#[test]
fn damage_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    Pack::open(folder.path()).unwrap().append(key("a"), &data(&[1.0], [1])).unwrap();
    fs::write(folder.path().join("pack.bin"), 2.0_f32.to_le_bytes()).unwrap();
    let error = Pack::open(folder.path()).unwrap().read(&key("a"), 1).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn exchanged_keys_and_shapes_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let pack = Pack::open(folder.path()).unwrap();
    pack.append(key("a"), &data(&[1.0, 2.0], [1, 2])).unwrap();
    pack.append(key("b"), &data(&[3.0, 4.0], [1, 2])).unwrap();
    drop(pack);
    let index = folder.path().join("index.jsonl");
    let whole = fs::read_to_string(&index).unwrap();
    let text = |name: &str| String::from_utf8(key(name).as_bytes().to_vec()).unwrap();
    let exchanged =
        whole.replace(&text("a"), "x").replace(&text("b"), &text("a")).replace("\"x\"", &format!("{:?}", text("b")));
    for (broken, reason) in [
        (exchanged, "damaged"),
        (whole.replace("[1,2]", "[2,1]"), "damaged"),
        (whole.replace("[1,2]", "[2]"), "damaged"),
        (whole.replace("[1,2]", "[0]"), "damaged"),
        (whole.replace("[1,2]", "[]"), "damaged"),
        // No file is that long: such a line ends the index.
        (whole.replace("[1,2]", "[4611686018427387904,4]"), "lacks a record"),
    ] {
        assert_ne!(broken, whole);
        fs::write(&index, broken).unwrap();
        let error = Pack::open(folder.path()).unwrap().read(&key("a"), 2).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        // What was noted of the one is nothing to the next.
        let _ = fs::remove_file(folder.path().join("damaged.jsonl"));
    }
    fs::write(&index, whole).unwrap();
    let error = Pack::open(folder.path()).unwrap().read(&key("a"), 3).unwrap_err().to_string();
    assert!(error.contains("[1, 2], not 3 axes"), "{error}");
}

#[test]
fn values_that_cannot_be_kept_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pack = Pack::open(folder.path()).unwrap();
    for bad in [data(&[], [0, 2]), data(&[1.0], []), TensorData::new(vec![1_i32], [1])] {
        pack.append(key("a"), &bad).unwrap_err();
    }
    assert!(!pack.contains(&key("a")));
}

#[test]
fn folders_of_somebody_else_are_refused_and_left_alone() {
    let entry = format!(r#"{{"key":"{0}","offset":0,"shape":[1],"hash":"{0}"}}"#, "a".repeat(64));
    let earlier = format!("{entry}\n{}", &entry[..20]);
    for (files, reason) in [
        (vec![("index.jsonl", "{\"file_name\": \"1.png\"}\n")], "holds `index.jsonl` that is no pack's"),
        (vec![("index.jsonl", "no end of line")], "holds `index.jsonl` that is no pack's"),
        (vec![("index.jsonl", entry.as_str())], "holds `index.jsonl` that is no pack's"),
        (vec![("pack.bin", "values")], "holds `pack.bin` that is no pack's"),
        (vec![("index.jsonl", ""), ("pack.bin", "values")], "holds `pack.bin` that is no pack's"),
        (vec![("index.jsonl", &earlier), ("pack.bin", "1234")], "of an earlier release: remove it"),
        (vec![("index.jsonl", "{\"format\":\"cogview4-pack\",\"version\":3}\n")], "version 3"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let error = Pack::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(folder.path().to_str().unwrap()), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), files.len(), "{reason}");
        for (name, text) in &files {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), *text);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pack.bin")).unwrap();
    Pack::open(folder.path()).unwrap_err();

    // A run that was killed at once leaves empty files.
    let folder = tempfile::tempdir().unwrap();
    for name in ["pack.bin", "index.jsonl"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    Pack::open(folder.path()).unwrap().append(key("a"), &data(&[1.0], [1])).unwrap();
}

#[test]
fn two_packs_on_one_folder_share_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let packs = [Pack::open(folder.path()).unwrap(), Pack::open(folder.path()).unwrap()];
    for number in 0..6_u8 {
        let value = data(&[f32::from(number)], [1]);
        packs[usize::from(number % 2)].append(PackKey::new(&[&[number]]), &value).unwrap();
        // What is there already is not appended again, whoever did it.
        packs[usize::from(1 - number % 2)].append(PackKey::new(&[&[number]]), &value).unwrap();
        for pack in &packs {
            assert_eq!(pack.read(&PackKey::new(&[&[number]]), 1).unwrap(), value);
        }
    }
    assert_eq!(fs::read(folder.path().join("pack.bin")).unwrap().len(), 6 * 4);

    // What a killed process left behind is dropped, whatever this one knew before.
    let index = folder.path().join("index.jsonl");
    let line = fs::read_to_string(&index).unwrap() + "{\"key\":";
    fs::write(&index, line).unwrap();
    packs[0].append(key("after"), &data(&[7.0], [1])).unwrap();
    assert!(!packs[1].contains(&key("after")));
    packs[1].refresh().unwrap();
    assert!(packs[1].contains(&key("after")));
    assert_eq!(Pack::open(folder.path()).unwrap().read(&key("after"), 1).unwrap(), data(&[7.0], [1]));
}

#[test]
fn threads_append_to_two_packs_and_read_from_both() {
    const RECORDS: u16 = 200;
    let folder = tempfile::tempdir().unwrap();
    let packs = [Pack::open(folder.path()).unwrap(), Pack::open(folder.path()).unwrap()];
    let key = |number: u16| PackKey::new(&[&number.to_le_bytes()]);
    let value =
        |number: u16| data(&vec![f32::from(number); 1 + usize::from(number % 7)], [1, 1 + usize::from(number % 7)]);
    thread::scope(|scope| {
        for pack in &packs {
            scope.spawn(move || {
                for number in 0..RECORDS {
                    pack.append(key(number), &value(number)).unwrap();
                }
            });
            for _ in 0..2 {
                scope.spawn(move || {
                    for number in 0..RECORDS {
                        while pack.read(&key(number), 2).is_err_and(|error| error.to_string().contains("lacks")) {
                            thread::yield_now();
                        }
                        assert_eq!(pack.read(&key(number), 2).unwrap(), value(number));
                    }
                });
            }
        }
    });
    let index = fs::read_to_string(folder.path().join("index.jsonl")).unwrap();
    assert_eq!(index.lines().count(), 1 + usize::from(RECORDS), "no record is there twice");
}

#[test]
fn where_parts_end_counts() {
    assert_ne!(PackKey::new(&[b"ab", b"c"]), PackKey::new(&[b"a", b"bc"]));
}

#[test]
fn a_damaged_record_is_made_anew_by_the_next_who_opens_the_pack() {
    let folder = tempfile::tempdir().unwrap();
    let (damaged, whole) = (data(&[1.0, 2.0], [2]), data(&[3.0], [1]));
    let pack = Pack::open(folder.path()).unwrap();
    pack.append(key("a"), &damaged).unwrap();
    pack.append(key("b"), &whole).unwrap();
    let values = folder.path().join("pack.bin");
    let mut bytes = fs::read(&values).unwrap();
    bytes[5] ^= 1;
    fs::write(&values, bytes).unwrap();
    assert!(pack.read(&key("a"), 1).unwrap_err().to_string().contains("start again"));
    assert!(pack.contains(&key("a")), "a run that goes on knows what it knows");

    let pack = Pack::open(folder.path()).unwrap();
    assert!(!pack.contains(&key("a")) && pack.contains(&key("b")));
    // Not made anew yet, so still not there for the one after.
    let pack = Pack::open(folder.path()).unwrap();
    assert!(!pack.contains(&key("a")));
    pack.append(key("a"), &damaged).unwrap();
    assert_eq!(pack.read(&key("a"), 1).unwrap(), damaged);
    let pack = Pack::open(folder.path()).unwrap();
    assert_eq!((pack.read(&key("a"), 1).unwrap(), pack.read(&key("b"), 1).unwrap()), (damaged, whole));
    assert!(!folder.path().join("damaged.jsonl").exists(), "nothing is left to note");
}
