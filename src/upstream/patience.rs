//! For how long a response head is waited for.

use std::pin::Pin;

use http::Response;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::CaptureConnection;

use super::FetchError;
use super::body::{Upload, UploadError};
use crate::clock::{Clock, Deadline};
use crate::config;

/// What bounds the wait, beside `upstream.response_timeout`.
pub(super) enum Patience {
    /// Until then.
    Until(Deadline),
    /// While the client still uploads, silence is bounded.
    While(Upload),
}

/// Boxed, so that waiting for it can be done in a loop without pinning the caller.
pub(super) type PendingAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, FetchError>> + Send>>;

impl Patience {
    /// Waits for the answer. The origin has `upstream.response_timeout` from when the request is
    /// with it: when there is a connection, and all of the client's body has gone out.
    pub(super) async fn wait(
        &self,
        mut answer: PendingAnswer,
        mut connection: CaptureConnection,
        settings: &config::Upstream,
        clock: &Clock,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut due: Option<Deadline> = None;
        loop {
            let bound = self.deadline(settings);
            let deadline = due.map_or(bound, |due| due.min(bound));
            let arrives = async {
                connection.wait_for_connection_metadata().await;
                self.sent().await;
            };
            let step = async {
                tokio::select! {
                    biased;
                    answer = &mut answer => Some(answer),
                    () = arrives, if due.is_none() => None,
                }
            };
            match clock.timeout_at(deadline, step).await {
                Some(Some(answer)) => return answer,
                Some(None) => due = Some(clock.deadline(settings.response_timeout)),
                // The upload has moved meanwhile.
                None if due.is_none() && self.deadline(settings) > deadline => {}
                None => return Err(self.over(settings)),
            }
        }
    }

    fn deadline(&self, settings: &config::Upstream) -> Deadline {
        match self {
            Self::Until(deadline) => *deadline,
            Self::While(upload) => upload.deadline(settings),
        }
    }

    /// Ends when there is no more to send.
    async fn sent(&self) {
        if let Self::While(upload) = self {
            upload.until_ended().await;
        }
    }

    /// Whose fault it is that it is over.
    fn over(&self, settings: &config::Upstream) -> FetchError {
        match self {
            Self::While(upload) if upload.has_ended() => FetchError::no_head(settings),
            Self::While(upload) if upload.is_starved() => {
                FetchError::from_upload(&UploadError::Slow)
            }
            Self::While(_) => FetchError::not_taken(settings),
            Self::Until(_) => FetchError::no_head(settings),
        }
    }
}
