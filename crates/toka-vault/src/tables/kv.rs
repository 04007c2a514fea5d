//! Rows in an ordered key-value store.
//!
//! | Key | Value |
//! |---|---|
//! | `S` | the sums, CRC |
//! | `L` log (2) | a log, CRC |
//! | `E` log (2) number (8) | an event's header, CRC |
//! | `I` id (32) ordinal (8) | log (2) number (8) |
//! | `C` parent (32) ordinal of the child (8) | log (2) number (8) |
//! | `D` digest (32) | content |
//!
//! Numbers in keys are big-endian, so that their order is the keys' order.

use toka_types::{Digest, EventId, HeaderView};

use super::row::{FORMAT, LogRow, Place, Sums, event_key};
use super::{Counts, EventBytes, Loaded, TableError, Tables, Write};

const SUMS: u8 = b'S';
const LOGS: u8 = b'L';
const EVENTS: u8 = b'E';
const IDS: u8 = b'I';
const CHILDREN: u8 = b'C';
const CONTENTS: u8 = b'D';

/// An ordered key-value store.
///
/// # Contract
/// As [`Tables`] has it: [`write`](KeyValue::write) is atomic, and durable when it returns.
pub(crate) trait KeyValue: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;
    /// The first byte of a key's value.
    fn first_byte(&self, key: &[u8]) -> Result<Option<u8>, TableError>;
    /// Shows the entries from `low` to `high`, both included, in order, as long as `visit` says true.
    fn range(&self, low: &[u8], high: &[u8], visit: Visit<'_>) -> Result<(), TableError>;
    /// Sets all of `entries`.
    fn write(&self, entries: Entries) -> Result<(), TableError>;
    /// Moves what a reader sees on to what is there now.
    fn renew(&self) -> Result<(), TableError>;
    /// As [`Tables::check`].
    fn check(&self) -> Result<Vec<String>, TableError>;
    /// As [`Tables::headroom`].
    fn headroom(&self) -> u64;
    /// As [`Tables::close`].
    fn close(&self) -> Result<(), TableError>;
}

/// Is shown a key and its value, and says whether to go on.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, TableError>;

/// Keys and their values.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The tables in a key-value store.
pub(crate) struct KvTables<K>(pub(crate) K);

impl<K: KeyValue> KvTables<K> {
    /// At most `limit` places in the entries of an index that belong to one key, from an ordinal on.
    fn index(&self, table: u8, id: &EventId, from: u64, limit: usize) -> Result<Vec<Place>, TableError> {
        let (low, high) = (index_key(table, id, from), index_key(table, id, u64::MAX));
        let mut places = Vec::new();
        if limit > 0 {
            self.0.range(&low, &high, &mut |_, value| {
                places.push(place(value)?);
                Ok(places.len() < limit)
            })?;
        }
        Ok(places)
    }

    /// The ordinal of the event at a place.
    fn ordinal(&self, at: Place) -> Result<Option<u64>, TableError> {
        let Some(row) = self.0.get(&[&[EVENTS], &event_key(at)[..]].concat())? else { return Ok(None) };
        let header = HeaderView::decode(checked(&row)?.0).map_err(|error| damage(&error.to_string()))?;
        let (low, high) = (index_key(IDS, &header.id, 0), index_key(IDS, &header.id, u64::MAX));
        let mut found = None;
        self.0.range(&low, &high, &mut |key, value| {
            if place(value)? == at {
                found = key.last_chunk::<8>().map(|ordinal| u64::from_be_bytes(*ordinal));
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    fn count(&self, table: u8) -> Result<u64, TableError> {
        let mut count = 0;
        // Every key of a table is longer than its first byte, and none begins with 66 such bytes.
        let mut high = vec![u8::MAX; 66];
        high[0] = table;
        self.0.range(&[table], &high, &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }
}

impl<K: KeyValue> Tables for KvTables<K> {
    fn load(&self) -> Result<Option<Loaded>, TableError> {
        self.0.renew()?;
        let Some(value) = self.0.get(&[SUMS])? else { return Ok(None) };
        match value.first_chunk::<4>().map(|format| u32::from_le_bytes(*format)) {
            Some(FORMAT) => {}
            Some(format) => return Err(TableError::Format(format)),
            None => return Err(damage("the row with the sums is malformed")),
        }
        let (sums, crc) = checked(&value)?;
        let sums = Sums::decode(sums).ok_or_else(|| damage("the row with the sums is malformed"))?;
        let mut logs = Vec::new();
        let (low, high) = ([&[LOGS], &[0; 2][..]].concat(), [&[LOGS], &[u8::MAX; 2][..]].concat());
        self.0.range(&low, &high, &mut |key, value| {
            let number = key.get(1..3).map(|number| u16::from_be_bytes([number[0], number[1]]));
            let (row, crc) = checked(value)?;
            let row = number.and_then(|number| LogRow::decode(number, row));
            logs.push((row.ok_or_else(|| damage("the row of a log is malformed"))?, crc));
            Ok(true)
        })?;
        Ok(Some(Loaded { sums: (sums, crc), logs }))
    }

    fn write(&self, write: &Write) -> Result<(), TableError> {
        let mut entries = Entries::new();
        for (digest, stored) in &write.contents {
            entries.push((content_key(digest), stored.clone()));
        }
        for row in &write.events {
            let key = event_key(row.place);
            let mut header = row.header.clone();
            header.extend_from_slice(&row.crc.to_le_bytes());
            entries.push(([&[EVENTS], &key[..]].concat(), header));
            entries.push((index_key(IDS, &row.id, row.ordinal), key.to_vec()));
            for parent in &row.causes {
                entries.push((index_key(CHILDREN, parent, row.ordinal), key.to_vec()));
            }
        }
        for (row, crc) in &write.logs {
            entries.push(([&[LOGS], &row.number.to_be_bytes()[..]].concat(), with_crc(row.encode(), *crc)));
        }
        entries.push((vec![SUMS], with_crc(write.sums.0.encode(), write.sums.1)));
        self.0.write(entries)
    }

    fn events(&self, log: u16, from: u64, limit: usize) -> Result<Vec<EventBytes>, TableError> {
        let key = |seq| [&[EVENTS], &event_key((log, seq))[..]].concat();
        if limit == 1 {
            let value = self.0.get(&key(from))?;
            return value.iter().map(|value| event(from, value)).collect();
        }
        let mut events = Vec::with_capacity(limit.min(1 << 16));
        self.0.range(&key(from), &key(u64::MAX), &mut |key, value| {
            let (_, seq) = place(&key[1..])?;
            events.push(event(seq, value)?);
            Ok(events.len() < limit)
        })?;
        Ok(events)
    }

    fn places(&self, id: &EventId) -> Result<Vec<Place>, TableError> {
        self.index(IDS, id, 0, usize::MAX)
    }

    fn ids(
        &self,
        low: &[u8; 32],
        high: &[u8; 32],
        limit: usize,
    ) -> Result<Vec<(EventId, Place)>, TableError> {
        let bound = |id: &[u8; 32], ordinal| index_key(IDS, &EventId(Digest(*id)), ordinal);
        let mut ids = Vec::new();
        self.0.range(&bound(low, 0), &bound(high, u64::MAX), &mut |key, value| {
            let id = key.get(1..).and_then(|key| key.first_chunk::<32>());
            let id = id.ok_or_else(|| damage("a key in the index of ids is malformed"))?;
            ids.push((EventId(Digest(*id)), place(value)?));
            Ok(ids.len() < limit)
        })?;
        Ok(ids)
    }

    fn children(&self, id: &EventId, after: Option<Place>, limit: usize) -> Result<Vec<Place>, TableError> {
        let from = match after {
            None => 0,
            Some(after) => match self.ordinal(after)? {
                Some(ordinal) => ordinal + 1,
                None => return Ok(Vec::new()),
            },
        };
        self.index(CHILDREN, id, from, limit)
    }

    fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, TableError> {
        self.0.get(&content_key(digest))
    }

    fn content_head(&self, digest: &Digest) -> Result<Option<u8>, TableError> {
        self.0.first_byte(&content_key(digest))
    }

    fn counts(&self) -> Result<Counts, TableError> {
        Ok(Counts {
            events: self.count(EVENTS)?,
            ids: self.count(IDS)?,
            links: self.count(CHILDREN)?,
            contents: self.count(CONTENTS)?,
        })
    }

    fn check(&self) -> Result<Vec<String>, TableError> {
        self.0.check()
    }

    fn headroom(&self) -> u64 {
        self.0.headroom()
    }

    fn close(&self) -> Result<(), TableError> {
        self.0.close()
    }
}

fn content_key(digest: &Digest) -> Vec<u8> {
    [&[CONTENTS], &digest.0[..]].concat()
}

fn index_key(table: u8, id: &EventId, ordinal: u64) -> Vec<u8> {
    [&[table], &id.as_bytes()[..], &ordinal.to_be_bytes()].concat()
}

fn place(bytes: &[u8]) -> Result<Place, TableError> {
    match bytes.first_chunk::<10>() {
        Some([a, b, seq @ ..]) if bytes.len() == 10 => {
            Ok((u16::from_be_bytes([*a, *b]), u64::from_be_bytes(*seq)))
        }
        _ => Err(damage("the place of an event is malformed")),
    }
}

fn event(seq: u64, value: &[u8]) -> Result<EventBytes, TableError> {
    let (header, crc) = checked(value)?;
    Ok(EventBytes { seq, header: header.to_vec(), crc })
}

fn with_crc(mut value: Vec<u8>, crc: u32) -> Vec<u8> {
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// A value and the checksum behind it.
fn checked(value: &[u8]) -> Result<(&[u8], u32), TableError> {
    match value.split_last_chunk::<4>() {
        Some((value, crc)) => Ok((value, u32::from_le_bytes(*crc))),
        None => Err(damage("a row is shorter than its checksum")),
    }
}

fn damage(detail: &str) -> TableError {
    TableError::Damage(detail.into())
}
