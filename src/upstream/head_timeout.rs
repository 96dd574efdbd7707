//! The deadline of a response head: fixed, or moved by the progress of an upload.

use http::Response;
use hyper::body::Incoming;
use hyper_util::client::legacy::ResponseFuture;
use hyper_util::client::legacy::connect::CaptureConnection;
use tokio::sync::watch;

use super::error::FetchError;
use super::upload::Progress;
use crate::clock::{Clock, Deadline};
use crate::config;

/// The deadline of a response head, in addition to `upstream.response_timeout`.
pub(super) enum HeadDeadline {
    /// A fixed deadline.
    At(Deadline),
    /// A deadline that moves as the upload progresses.
    Upload(watch::Receiver<Progress>),
}

impl HeadDeadline {
    /// Waits for the response. `upstream.response_timeout` starts when the request is sent: when
    /// there is a connection, and all of the client's body has been written to it.
    pub(super) async fn wait(
        &self,
        mut response: ResponseFuture,
        mut connection: CaptureConnection,
        settings: &config::Upstream,
        clock: &Clock,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut due: Option<Deadline> = None;
        loop {
            let bound = self.bound(settings);
            let deadline = due.map_or(bound, |due| due.min(bound));
            let sent = async {
                connection.wait_for_connection_metadata().await;
                if let Self::Upload(progress) = self {
                    let mut progress = progress.clone();
                    if progress.wait_for(|upload| upload.has_ended).await.is_err() {
                        // The upload was dropped early: `response` has the error.
                        std::future::pending::<()>().await;
                    }
                }
            };
            let step = async {
                tokio::select! {
                    biased;
                    response = &mut response => Some(response),
                    () = sent, if due.is_none() => None,
                }
            };
            match clock.timeout_at(deadline, step).await {
                Some(Some(response)) => return response.map_err(FetchError::from_client),
                Some(None) => due = Some(clock.deadline(settings.response_timeout)),
                // The upload has progressed meanwhile.
                None if due.is_none() && self.bound(settings) > deadline => {}
                None => return Err(self.error(settings)),
            }
        }
    }

    fn bound(&self, settings: &config::Upstream) -> Deadline {
        match self {
            Self::At(deadline) => *deadline,
            Self::Upload(progress) => progress.borrow().deadline(settings),
        }
    }

    /// The error for a missed deadline.
    fn error(&self, settings: &config::Upstream) -> FetchError {
        if let Self::Upload(progress) = self {
            let progress = *progress.borrow();
            if !progress.has_ended && progress.is_starved {
                return FetchError::UploadSlow;
            } else if !progress.has_ended {
                return FetchError::UploadStalled(settings.total_timeout);
            }
        }
        FetchError::HeadTimeout(settings.response_timeout)
    }
}
