//! Long work that not every process has the same amount of, such as packing. Nobody waits in a collective meanwhile: the
//! communicating thread asks all processes again and again whether they are done, which also finds out who is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Group, group::Pending, transport::gather_equal};
use crate::{
    error::{Result, TrainError},
    stop::StopFlag,
};

/// How often all processes are asked.
const BEAT: Duration = Duration::from_millis(100);

const BUSY: u8 = 0;
const DONE: u8 = 1;
const STOPPED: u8 = 2;
const FAILED: u8 = 3;

impl Group {
    /// Works, and waits until every process has done so. Meanwhile a wish to stop reaches all; where one has stopped, all
    /// have.
    ///
    /// # Errors
    /// Those of the work, and that another process has failed.
    pub(crate) fn while_all_work<T>(&self, what: &str, stop: &StopFlag, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let state = Arc::new(AtomicU8::new(BUSY));
        let (own, wish) = (Arc::clone(&state), stop.clone());
        let beats = self.begin(what, move |transport| {
            loop {
                let own = own.load(Ordering::Acquire);
                let said = gather_equal(transport, &[own, u8::from(wish.is_requested())]);
                let all = said.as_chunks::<2>().0;
                if all.iter().any(|said| said[1] == 1) {
                    wish.request();
                }
                let is = |state: u8| move |said: &[u8; 2]| said[0] == state;
                if let Some(rank) = all.iter().position(is(FAILED)) {
                    return Some(End::Failed(rank));
                }
                if !all.iter().any(is(BUSY)) {
                    return all.iter().any(is(STOPPED)).then_some(End::Stopped);
                }
                thread::sleep(BEAT);
            }
        });
        let result = work();
        let reached = match &result {
            Ok(_) => DONE,
            Err(TrainError::Stopped) => STOPPED,
            Err(_) => FAILED,
        };
        state.store(reached, Ordering::Release);
        match beats.and_then(Pending::wait) {
            Some(End::Failed(rank)) if reached != FAILED => Err(self.told_by(rank)),
            Some(End::Stopped) => Err(TrainError::Stopped),
            _ => result,
        }
    }

    /// Has the first process do something while the others wait; it alone gets the result.
    ///
    /// # Errors
    /// Those of the work, for every process.
    pub(crate) fn first<T>(&self, what: &str, stop: &StopFlag, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let result = self.while_all_work(what, stop, || Ok(self.is_first().then(work)))?;
        self.agree(what, result.transpose())
    }

    /// Has the first process do something, and then the others, who find what it has fetched.
    ///
    /// # Errors
    /// Those of the work of any process, for every one.
    pub(crate) fn first_then_others<T>(
        &self,
        what: &str,
        stop: &StopFlag,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let of_first = self.first(what, stop, &mut work)?;
        self.each(what, stop, || of_first.map_or_else(work, Ok))
    }

    /// Has every process do something that may take each another time.
    ///
    /// # Errors
    /// Those of the work of any process, for every one.
    pub(crate) fn each<T>(&self, what: &str, stop: &StopFlag, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = self.while_all_work(what, stop, || Ok(work()))?;
        self.agree(what, result)
    }
}

/// How work ends that not every process has done.
enum End {
    Failed(usize),
    Stopped,
}
