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

/// The deadline of a response head.
pub(super) enum HeadDeadline {
    /// For a fetch; `upstream.response_timeout` applies too, once the request is sent.
    Fetch(Deadline),
    /// For a forwarded request without a body.
    Forward(Deadline),
    /// For a forwarded request with a body: it moves as the upload progresses.
    Upload(watch::Receiver<Progress>),
}

impl HeadDeadline {
    /// Waits for the response.
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
            let step = async {
                tokio::select! {
                    biased;
                    response = &mut response => Some(response),
                    () = self.sent(&mut connection), if due.is_none() => None,
                }
            };
            match clock.timeout_at(deadline, step).await {
                Some(Some(response)) => {
                    return response.map_err(|error| FetchError::from_client(error, settings));
                }
                Some(None) => {
                    due = Some(match self {
                        Self::Fetch(_) => clock.deadline(settings.response_timeout),
                        Self::Forward(_) | Self::Upload(_) => self.bound(settings),
                    });
                }
                // The upload has progressed meanwhile.
                None if due.is_none() && self.bound(settings) > deadline => {}
                None => return Err(self.error(settings)),
            }
        }
    }

    /// Waits until the request is sent: there is a connection, and all of the client's body has been
    /// written to it.
    async fn sent(&self, connection: &mut CaptureConnection) {
        connection.wait_for_connection_metadata().await;
        if let Self::Upload(progress) = self {
            let mut progress = progress.clone();
            if progress.wait_for(|upload| upload.has_ended).await.is_err() {
                // The upload was dropped early: the response has the error.
                std::future::pending::<()>().await;
            }
        }
    }

    fn bound(&self, settings: &config::Upstream) -> Deadline {
        match self {
            Self::Fetch(deadline) | Self::Forward(deadline) => *deadline,
            Self::Upload(progress) => progress.borrow().deadline(settings),
        }
    }

    /// The error for a missed deadline.
    fn error(&self, settings: &config::Upstream) -> FetchError {
        match self {
            Self::Fetch(_) => FetchError::HeadTimeout(settings.response_timeout),
            Self::Upload(progress) if !progress.borrow().has_ended => {
                if progress.borrow().is_starved {
                    FetchError::UploadSlow
                } else {
                    FetchError::UploadStalled(settings.total_timeout)
                }
            }
            Self::Forward(_) | Self::Upload(_) => {
                FetchError::ForwardTimeout(settings.forward_timeout)
            }
        }
    }
}
