//! The body of a stored response: in the ledger until it is stored, and again while clients still
//! need it after the store has evicted it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::AcqRel;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::ledger::{Ledger, Share};
use crate::telemetry::Holder;

/// The body of a stored response, or of one that may be stored. A clone is for another stored response
/// with the same body; clients get clones of its [`Bytes`].
#[derive(Debug)]
pub struct StoredBody {
    bytes: Bytes,
    loan: Arc<Loan>,
}

/// Whether a body is in the ledger. Dropped with the last reference to its bytes.
#[derive(Debug)]
struct Loan {
    ledger: Arc<Ledger>,
    /// The number of clones of the [`StoredBody`].
    owners: AtomicUsize,
    share: ArcSwapOption<Share>,
}

/// The owner of the bytes: wherever hyper keeps a reference to them, the loan lasts.
struct Owner(Bytes, #[expect(dead_code, reason = "held")] Arc<Loan>);

impl StoredBody {
    /// A body that belongs to a stored response: a view, or an encoding.
    pub fn new(bytes: Bytes, ledger: &Arc<Ledger>) -> Self {
        let loan = Arc::new(Loan {
            ledger: Arc::clone(ledger),
            owners: AtomicUsize::new(1),
            share: ArcSwapOption::empty(),
        });
        let bytes = Bytes::from_owner(Owner(bytes, Arc::clone(&loan)));
        Self { bytes, loan }
    }

    /// A body that was fetched, with its share of the ledger.
    pub fn fetched(bytes: Bytes, mut share: Share) -> Self {
        share.shrink(bytes.len());
        let body = Self::new(bytes, &share.ledger);
        body.loan.share.store(Some(Arc::new(share)));
        body
    }

    /// Records that the store owns it from now on.
    pub fn stored(&self) {
        self.loan.share.store(None);
    }
}

impl Deref for StoredBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl Clone for StoredBody {
    fn clone(&self) -> Self {
        self.loan.owners.fetch_add(1, AcqRel);
        let (bytes, loan) = (self.bytes.clone(), Arc::clone(&self.loan));
        Self { bytes, loan }
    }
}

impl Drop for StoredBody {
    fn drop(&mut self) {
        let Loan {
            ledger,
            owners,
            share,
        } = &*self.loan;
        let length = self.bytes.len();
        let is_last = owners.fetch_sub(1, AcqRel) == 1;
        drop(std::mem::take(&mut self.bytes));
        // The other reference is that of the bytes: clients still need them.
        if is_last && Arc::strong_count(&self.loan) > 1 && share.load().is_none() {
            share.store(Some(Arc::new(ledger.overdraw(length, Holder::Accepted))));
        }
    }
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
