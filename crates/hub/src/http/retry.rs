//! Another try: after what, how often, after how long.

use std::time::Duration;

use crate::{error::HubError, hub::Hub};

/// So many tries one after another that bring nothing end in an error.
const TRIES: u32 = 5;
/// The wait after the first try; each one more doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Who asks for more patience than this is not waited for.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// How one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try may help, after the time that the server asked for.
    Again(HubError, Option<Duration>),
    /// Nothing helps.
    Final(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// The tries of one thing.
#[derive(Debug)]
pub(crate) struct Retries<'a> {
    hub: &'a Hub,
    failed: u32,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        Self { hub, failed: 0 }
    }

    /// A try brought something: counting starts anew.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next try; where there is none, gives the error back.
    pub(crate) fn wait(&mut self, failure: Failure) -> Result<(), HubError> {
        let (error, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again(error, asked) => (error, asked),
        };
        self.failed += 1;
        if self.failed >= TRIES || asked.is_some_and(|asked| asked > MAX_WAIT) {
            return Err(error);
        }
        let wait = asked.unwrap_or(FIRST_WAIT * 2u32.pow(self.failed - 1));
        self.hub.progress().note(&format!("{error}; trying again in {} s", wait.as_secs_f32()));
        self.hub.sleep(wait);
        Ok(())
    }
}
