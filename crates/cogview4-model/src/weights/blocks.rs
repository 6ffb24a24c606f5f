//! Blocks of a model that are not kept in memory: each is read before its use, by a thread that is one ahead, and
//! dropped after it.

use std::{
    fmt,
    ops::{Deref, Range},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
};

use burn::module::Module;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{HasLinears, LoadOptions, WeightFiles, WeightOptions, keeps_int8, load_int8, load_module};
use crate::error::{ModelError, Result};

/// A block that is in memory while this lives.
#[derive(Debug)]
pub enum Block<'a, M> {
    /// It stays there.
    Resident(&'a M),
    /// It was read for this use.
    Streamed(Box<M>),
}

impl<M> Deref for Block<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        match self {
            Self::Resident(block) => block,
            Self::Streamed(block) => block,
        }
    }
}

/// Block `index` of a model that keeps the first ones in memory. With the last of these, reading the others begins.
pub(crate) fn block<'a, M: Module + HasLinears + Sync + 'static>(
    resident: &'a [M],
    streamed: Option<&BlockStream<M>>,
    index: usize,
) -> Result<Block<'a, M>> {
    match streamed {
        Some(streamed) if index >= resident.len() => return Ok(Block::Streamed(Box::new(streamed.get(index)?))),
        Some(streamed) if index + 1 == resident.len() => streamed.begin(),
        _ => {}
    }
    Ok(Block::Resident(&resident[index]))
}

/// Whether loading a model leaves a key to [`fill_blocks`]: that of a block that is streamed, or of a matrix in 8 bits.
pub(crate) fn is_of_blocks(files: &WeightFiles, key: &str, name: &str, options: &WeightOptions) -> bool {
    let is_streamed = block_index(key, name).zip(options.resident_blocks).is_some_and(|(index, kept)| index >= kept);
    is_streamed || keeps_int8(files, key, options)
}

/// Does for the blocks called `name` what loading left: drops those that are streamed, fills the matrices in 8 bits of
/// the others, and gives what reads the dropped ones.
pub(crate) fn fill_blocks<M: Module + HasLinears + Sync + 'static>(
    blocks: &mut Vec<M>,
    init: impl Fn() -> M + Send + Sync + 'static,
    files: Arc<WeightFiles>,
    name: &str,
    options: &WeightOptions,
) -> Result<Option<Arc<BlockStream<M>>>> {
    let count = blocks.len();
    let resident = options.resident_blocks.map_or(count, |kept| kept.min(count));
    blocks.truncate(resident);
    for (index, block) in blocks.iter_mut().enumerate() {
        load_int8(block, &files, &format!("{name}.{index}."), options)?;
    }
    let stream = (resident < count).then(|| BlockStream::new(init, files, name.into(), options, resident..count));
    Ok(stream.transpose()?.map(Arc::new))
}

/// The number of the block that a key belongs to, of blocks called `name.0.`, `name.1.` and so on.
pub fn block_index(key: &str, name: &str) -> Option<usize> {
    key.strip_prefix(name)?.strip_prefix('.')?.split('.').next()?.parse().ok()
}

type Load<M> = dyn Fn(usize) -> Result<M> + Send + Sync;

/// The blocks of a model that are read before each use. While one is used, the next is read; there are never more than
/// these two, as long as the user drops one before asking for another.
pub(crate) struct BlockStream<M> {
    blocks: Range<usize>,
    load: Arc<Load<M>>,
    /// One thread; conversions run on it too, so that those that compute are never kept waiting by the disk.
    reader: ThreadPool,
    ahead: Mutex<Option<Ahead<M>>>,
}

/// A block that is being read, or was.
struct Ahead<M> {
    index: usize,
    block: Receiver<Result<M>>,
}

impl<M: Module + HasLinears + Sync + 'static> BlockStream<M> {
    /// The blocks `name.0.`, `name.1.` and so on in these files that `options` do not keep in memory; `init` makes them
    /// without their weights.
    fn new(
        init: impl Fn() -> M + Send + Sync + 'static,
        files: Arc<WeightFiles>,
        name: String,
        options: &WeightOptions,
        blocks: Range<usize>,
    ) -> Result<Self> {
        // Memory of their own, read and not mapped: a file that is cut is an error then, and no signal.
        let options = WeightOptions { is_mapped: false, ..options.clone() };
        let load = move |index: usize| {
            let prefix = format!("{name}.{index}.");
            let load = LoadOptions {
                prefix: &prefix,
                may_ignore: &|key| !key.starts_with(&prefix),
                is_left: &|key| keeps_int8(&files, key, &options),
                ..LoadOptions::all(options.dtype)
            };
            let mut block = load_module(init(), &files, load)?;
            load_int8(&mut block, &files, &prefix, &options)?;
            Ok(block)
        };
        let reader = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "weights".into()).build();
        let reader = reader.map_err(|error| ModelError::bad_input("offload", format!("no thread: {error}")))?;
        Ok(Self { blocks, load: Arc::new(load), reader, ahead: Mutex::new(None) })
    }

    /// A block; the one that follows begins to be read.
    fn get(&self, index: usize) -> Result<M> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let block = match ahead.take() {
            Some(read) if read.index == index => read.wait(),
            other => {
                // Waited for, so that there are never three.
                drop(other.map(Ahead::wait));
                self.read(index).wait()
            }
        }?;
        *ahead = self.blocks.contains(&(index + 1)).then(|| self.read(index + 1));
        Ok(block)
    }

    /// A block, without reading another meanwhile.
    pub(crate) fn get_alone(&self, index: usize) -> Result<M> {
        (self.load)(index)
    }

    /// Begins to read the first of the blocks, if none is being read.
    fn begin(&self) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.is_none() {
            *ahead = Some(self.read(self.blocks.start));
        }
    }

    fn read(&self, index: usize) -> Ahead<M> {
        let (sender, block) = sync_channel(1);
        let load = Arc::clone(&self.load);
        self.reader.spawn(move || {
            // Nobody waits any more when the model is gone.
            let _ = sender.send(load(index));
        });
        Ahead { index, block }
    }
}

impl<M> Ahead<M> {
    fn wait(self) -> Result<M> {
        self.block.recv().expect("invariant: the reader answers")
    }
}

impl<M> fmt::Debug for BlockStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockStream").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}
