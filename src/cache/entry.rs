//! A stored response: the origin's whole body, and the parts of it that were asked for.
//!
//! Store the whole, show the part: one stored response serves every view of it. A view is
//! derived once, and kept with its entry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::admission::Admitted;
use super::fence::Turn;
use super::{Admission, Fence, Representation};
use crate::policy::{Freshness, Selecting};
use crate::request::Scope;
use crate::view::View;

/// Views that are kept with one entry; a further one takes the place of the oldest.
const MAX_VIEWS: usize = 8;

/// What an entry weighs beside its bytes: its own fields, moka's bookkeeping, the allocations,
/// the generations it stands under.
const ENTRY_OVERHEAD: usize = 560 + size_of::<Entry>();

/// A stored response.
#[derive(Debug)]
pub struct Entry {
    /// Status, fields and body as the origin sent them.
    pub whole: Arc<Representation>,
    /// How long it is good for.
    pub freshness: Freshness,
    /// Which requests it answers, of those with its key.
    pub vary: Selecting,
    /// Whose it is. Compared with the asker's at every read.
    pub scope: Scope,
    /// What its fetch began under.
    pub fence: Fence,
    /// Whether it was not the origin itself that answered, but a cache before it.
    pub came_with_age: bool,
    /// A plain mutex: held for a look at a short list.
    views: Mutex<Vec<(View, Place)>>,
    /// Who of those that share its scope may see it.
    admitted: Admitted,
}

/// Where a part of a response is, once somebody has derived it. Whoever else wants it meanwhile
/// waits for that.
pub type Place = Arc<OnceCell<Arc<Representation>>>;

impl Entry {
    /// A response, none of whose parts was asked for yet.
    #[must_use]
    pub fn new(
        whole: Representation,
        freshness: Freshness,
        vary: Selecting,
        scope: Scope,
        fence: Fence,
        came_with_age: bool,
    ) -> Self {
        Self {
            whole: Arc::new(whole),
            freshness,
            vary,
            scope,
            fence,
            came_with_age,
            admitted: Admitted::default(),
            views: Mutex::default(),
        }
    }

    /// Whether the origin has answered this token for this key lately.
    #[must_use]
    pub fn admits(&self, holder: &Scope, now: Duration) -> bool {
        self.admitted.admits(holder, now)
    }

    /// The origin has answered a token.
    pub fn admit(&self, admission: Admission) {
        self.admitted.add(admission);
    }

    /// Dismisses whose admission the origin has taken back since.
    pub(super) fn keep_admitted(&self, counts: impl Fn(Turn) -> bool) {
        self.admitted.keep(counts);
    }

    pub(super) fn inherit(&self, older: &Self) {
        self.admitted.inherit(&older.admitted);
    }

    /// The remembered part of this response, if it was asked for before.
    #[must_use]
    pub fn view(&self, view: &View) -> Option<Arc<Representation>> {
        let views = self.lock();
        let (_, place) = views.iter().find(|(known, _)| known == view)?;
        place.get().map(Arc::clone)
    }

    /// Every part that is remembered.
    #[must_use]
    pub fn parts(&self) -> Vec<(View, Arc<Representation>)> {
        let views = self.lock();
        let derived = |(view, place): &(View, Place)| Some((view.clone(), place.get()?.clone()));
        views.iter().filter_map(derived).collect()
    }

    /// The place of a part, found or made. Who fills it weighs the entry again.
    #[must_use]
    pub fn place(&self, view: &View) -> Place {
        let mut views = self.lock();
        if let Some((_, place)) = views.iter().find(|(known, _)| known == view) {
            return Arc::clone(place);
        }
        if views.len() == MAX_VIEWS {
            views.remove(0);
        }
        let place = Place::default();
        views.push((view.clone(), Arc::clone(&place)));
        place
    }

    /// Bytes of memory that go when this entry does.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of_view = |(view, place): &(View, Place)| {
            let Some(part) = place.get() else { return 0 };
            if Arc::ptr_eq(part, &self.whole) {
                return view.as_str().len();
            }
            // A part with nothing removed shares the bytes of the whole.
            let shared = part.body.as_ptr() == self.whole.body.as_ptr();
            part.weight() - if shared { part.body.len() } else { 0 } + view.as_str().len()
        };
        ENTRY_OVERHEAD
            + self.admitted.weight()
            + self.vary.heap_bytes()
            + self.whole.weight()
            + self.lock().iter().map(of_view).sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(View, Place)>> {
        // An operation on a short list does not panic half-way.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
