//! What a log holds, by kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_types::EventHeader;

use crate::core::LogId;
use crate::snapshot::Fold;
use crate::store::{Store, StoreError};

/// Headers read at once.
const HEADERS: usize = 1024;

/// Sums over the headers of a log: a [`Fold`] that can be kept as a snapshot and brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogStatistics {
    /// How many events were looked at; the number of the next one.
    pub next_seq: u64,
    /// All events together.
    pub total: Sums,
    /// By kind.
    pub kinds: BTreeMap<String, Sums>,
}

/// Sums over some events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// How many they are.
    pub events: u64,
    /// Bytes of their headers, facts included.
    pub header_bytes: u64,
    /// Bytes of the content that they name, each time it is named: what is stored once counts for each event.
    pub content_bytes: u64,
}

impl LogStatistics {
    /// The statistics of all events that `log` has.
    pub fn of(store: &dyn Store, log: &LogId) -> Result<Self, StoreError> {
        let mut statistics = Self::default();
        statistics.advance(store, log)?;
        Ok(statistics)
    }

    /// Takes in the events that came since.
    pub fn advance(&mut self, store: &dyn Store, log: &LogId) -> Result<(), StoreError> {
        loop {
            let headers = store.headers(log, self.next_seq, HEADERS)?;
            if headers.is_empty() {
                return Ok(());
            }
            headers.iter().for_each(|header| self.add(header));
        }
    }

    fn add(&mut self, header: &EventHeader) {
        self.next_seq = header.seq + 1;
        let add = |sums: &mut Sums| {
            sums.events += 1;
            sums.header_bytes += header.encoded_len() as u64;
            sums.content_bytes += header.content_bytes();
        };
        add(&mut self.total);
        match self.kinds.get_mut(header.kind.as_str()) {
            Some(sums) => add(sums),
            None => add(self.kinds.entry(header.kind.to_string()).or_default()),
        }
    }
}

impl Fold for LogStatistics {
    const NAME: &'static str = "log-statistics";
    const VERSION: u32 = 1;
    type Error = std::convert::Infallible;

    fn apply(&mut self, header: &EventHeader) -> Result<(), Self::Error> {
        self.add(header);
        Ok(())
    }
}
