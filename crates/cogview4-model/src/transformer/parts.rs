//! The model part by part: each block, and what is in none, so that a part can be trained while the others wait.

use super::{CogView4Transformer, TransformerBlock};
use crate::error::ModelError;

impl CogView4Transformer {
    /// What is not in a block, for [`embed`](Self::embed) and [`head`](Self::head): a model without blocks.
    #[must_use]
    pub fn outside(&self) -> Self {
        let Self { patch_embed, time_condition_embed, norm_out, proj_out, config, .. } = self;
        Self {
            patch_embed: patch_embed.clone(),
            time_condition_embed: time_condition_embed.clone(),
            transformer_blocks: Vec::new(),
            norm_out: norm_out.clone(),
            proj_out: proj_out.clone(),
            streamed: None,
            config: config.clone(),
        }
    }

    /// Replaces what is not in a block; `map` is given a model without blocks.
    ///
    /// # Errors
    /// Those of `map`.
    pub fn map_outside<E>(mut self, map: impl FnOnce(Self) -> Result<Self, E>) -> Result<Self, E> {
        let transformer_blocks = std::mem::take(&mut self.transformer_blocks);
        let streamed = self.streamed.take();
        Ok(Self { transformer_blocks, streamed, ..map(self)? })
    }

    /// Brings all blocks to memory, one after another in order, each as `map` makes it of its number and itself.
    ///
    /// # Errors
    /// A block that cannot be read, and those of `map`.
    pub fn map_blocks<E: From<ModelError>>(
        mut self,
        mut map: impl FnMut(usize, TransformerBlock) -> Result<TransformerBlock, E>,
    ) -> Result<Self, E> {
        let resident = std::mem::take(&mut self.transformer_blocks).into_iter().map(Ok);
        let streamed = self.streamed.take();
        let others = (resident.len()..self.num_blocks()).map(|index| match &streamed {
            Some(streamed) => streamed.get_alone(index),
            None => unreachable!("invariant: a block is in memory or streamed"),
        });
        for (index, block) in resident.chain(others).enumerate() {
            self.transformer_blocks.push(map(index, block?)?);
        }
        Ok(self)
    }

    /// Replaces a block that is in memory.
    ///
    /// # Errors
    /// Those of `map`.
    ///
    /// # Panics
    /// When there is no such block in memory.
    pub fn map_block<E>(
        mut self,
        index: usize,
        map: impl FnOnce(TransformerBlock) -> Result<TransformerBlock, E>,
    ) -> Result<Self, E> {
        let block = map(self.transformer_blocks.remove(index))?;
        self.transformer_blocks.insert(index, block);
        Ok(self)
    }
}
