//! A parquet file. In two parts it is what lies in front of its metadata, and the metadata: the end, which says how
//! long that is, is made here, so that changes of its length do not break it.
#![no_main]

use cogview4_data::{Columns, open_dataset};
use cogview4_fuzz::{Scratch, parts, said, target};

const MAGIC: &[u8] = b"PAR1";
const MOST_ROWS: usize = 6;

target!(read);

fn read(data: &[u8]) {
    let folder = Scratch::new();
    let file = match parts(data, 2)[..] {
        [pages, metadata] => [pages, metadata, &(metadata.len() as u32).to_le_bytes(), MAGIC].concat(),
        _ => data.to_vec(),
    };
    let path = folder.write("rows.parquet", &file);
    let Some(rows) = said(open_dataset(&path, &Columns::default())) else { return };
    rows.columns();
    for index in (0..rows.len().min(MOST_ROWS)).chain(rows.len().checked_sub(1)) {
        rows.place(index);
        if let Some(row) = said(rows.row(index)) {
            said(row.image.bytes());
            assert!(!row.captions.is_empty());
        }
    }
}
