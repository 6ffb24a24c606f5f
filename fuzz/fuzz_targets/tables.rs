//! One text as JSON lines, as `metadata.jsonl` of a folder and as its `metadata.csv`.
#![no_main]

use cogview4_data::{Columns, Dataset, open_dataset, open_jsonl};
use cogview4_fuzz::{Scratch, said, target};

target!(read);

fn read(data: &[u8]) {
    let (folder, columns) = (Scratch::new(), Columns::default());
    said(open_jsonl(&folder.write("rows.jsonl", data), &columns)).map(|rows| walk(&*rows));
    for name in ["lines/metadata.jsonl", "csv/metadata.csv"] {
        let path = folder.write(name, data);
        let inside = path.parent().expect("a folder");
        let Some(rows) = said(open_dataset(inside, &columns)) else { continue };
        walk(&*rows);
        said(rows.row(0).expect("a row").image.bytes());
    }
}

fn walk(rows: &dyn Dataset) {
    assert!(!rows.is_empty() && !rows.columns().is_empty());
    for index in 0..rows.len() {
        rows.place(index);
        assert!(!rows.row(index).expect("a table is read whole").captions.is_empty());
    }
}
