//! Guards of the bytes of a connection.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::ledger::Account;

/// Bytes that a connection holds for its requests: unfinished heads, and requests that wait.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Held {
    /// Holds these bytes until dropped.
    pub fn new(account: &Arc<Account>, bytes: usize) -> Self {
        account.change(0, bytes);
        let account = Arc::clone(account);
        Self { account, bytes }
    }

    /// Changes the number of bytes.
    pub fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.account.change(self.bytes, bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A part of a response, until the client has read it. It is counted by [`Account::add_unsent`] before.
#[derive(Debug)]
pub struct Unsent {
    rest: Bytes,
    length: usize,
    account: Arc<Account>,
}

impl Unsent {
    /// These bytes, which the account counts already.
    pub fn new(bytes: Bytes, account: &Arc<Account>) -> Self {
        Self {
            length: bytes.len(),
            rest: bytes,
            account: Arc::clone(account),
        }
    }
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.rest
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
        if self.has_remaining() {
            self.account.read(count);
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.account.release_unsent(self.length, self.rest.len());
    }
}
