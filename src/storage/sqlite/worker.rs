//! One connection on a thread of its own: SQLite blocks, and a runtime's threads must not.

use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::units::StoreError;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Takes jobs in order, one at a time. Its thread ends, and the connection closes, when it is dropped.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let serve = move || queue.into_iter().for_each(|job| job(&mut connection));
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(serve).map_err(|error| StoreError(format!("no thread for SQLite: {error}")))?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the connection. Dropping the future does not stop a job: it was asked for and is done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.send(move |connection: &mut Connection| drop(sender.send(job(connection))), answer).await
    }

    /// The same for a question: where nobody waits for its answer any more when its turn comes, it is not asked.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            if !sender.is_closed() {
                drop(sender.send(job(connection)));
            }
        };
        self.send(job, answer).await
    }

    async fn send<T>(
        &self,
        job: impl FnOnce(&mut Connection) + Send + 'static,
        answer: oneshot::Receiver<rusqlite::Result<T>>,
    ) -> Result<T, StoreError> {
        let closed = || StoreError("the database is closed".to_owned());
        self.jobs.send(Box::new(job)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map_err(|error| StoreError(error.to_string()))
    }
}
