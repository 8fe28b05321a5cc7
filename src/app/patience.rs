//! How long a start waits for a store that does not answer, at whichever step that shows: opening it, comparing the
//! pepper, accounting for what an earlier life left open.
//!
//! Failure stance: what may pass is waited for, all steps together no longer than the operator said; what only a person
//! can put right ends the start at once.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout_at};

use super::StartProblem;
use super::stores::StoreProblem;

/// Between attempts.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Patience {
    limit: Duration,
    end: Instant,
}

impl Patience {
    /// Begins now.
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, end: Instant::now() + limit }
    }

    /// Tries `step` until it is done. `waiting` is called once, where the first attempt fails with what may pass.
    pub(super) fn through<T>(
        &self,
        runtime: &Runtime,
        waiting: impl FnOnce() -> Result<(), StartProblem>,
        mut step: impl AsyncFnMut() -> Result<T, StartProblem>,
    ) -> Result<T, StartProblem> {
        let problem = match runtime.block_on(step()) {
            Err(StartProblem::Store(StoreProblem::Passing(problem))) => problem,
            outcome => return outcome,
        };
        waiting()?;
        let limit = self.limit;
        tracing::warn!(problem, "waiting for the store, {limit:?} at most; nothing is served until it answers");
        runtime.block_on(self.again(problem, step))
    }

    async fn again<T>(
        &self,
        mut problem: String,
        mut step: impl AsyncFnMut() -> Result<T, StartProblem>,
    ) -> Result<T, StartProblem> {
        while Instant::now() + AGAIN <= self.end {
            sleep(AGAIN).await;
            match timeout_at(self.end, step()).await {
                Ok(Err(StartProblem::Store(StoreProblem::Passing(again)))) => problem = again,
                Ok(outcome) => return outcome,
                Err(_) => break,
            }
        }
        Err(StoreProblem::Passing(format!("{problem}: waited {:?} in vain", self.limit)).into())
    }
}
